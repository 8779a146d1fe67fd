export { ReportBuilder, reportDemand, type Losses, type ReportSource, type ReportSubject } from './builder.js';
export { markdown } from './markdown.js';
