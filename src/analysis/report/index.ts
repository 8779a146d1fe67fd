export {
  ReportBuilder,
  reportDemand,
  type Losses,
  type ReportSource,
  type ReportSubject,
  type ReportTracker,
} from './builder.js';
export { markdown } from './markdown.js';
