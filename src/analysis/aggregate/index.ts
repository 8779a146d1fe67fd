export { Aggregator, type AggregatorOptions, type Changes } from './aggregator.js';
export { LiveAggregate, type AggregateChange, type AggregateSource } from './live.js';
export { addEvents, addSlices } from './scan.js';
export type { AggregateRow, MeasureValue, WindowSpan } from './rows.js';
export { compileAggregate, demandOf, type AggregateInput, type AggregateSpec } from './spec.js';
