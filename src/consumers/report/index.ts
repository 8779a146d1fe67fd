export { ReportBuilder, reportDemand, type Losses, type ReportSubject } from './builder.js';
export { markdown } from './markdown.js';
