export { ReportBuilder, reportDemand, type ReportSource, type ReportSubject, type ReportTracker } from './builder.js';
export { markdown } from './markdown.js';
