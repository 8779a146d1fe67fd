export { OtlpExporter, type ExporterOptions } from './exporter.js';
