/** Filters for events: validates and compiles what clients write. Pure. */
export type { Filter } from './ast.js';
export { parseCel } from './cel.js';
export { compileContainerFilter, compileFilter, fieldsOf, pathsIn, type Predicate } from './compile.js';
export { FilterBudget } from './budget.js';
export { namesIn, type Definitions, type Macro } from './definitions.js';
export { and, or, type Scalar } from './ast.js';
export { FilterFields, type Filtered, type FilterField } from './field.js';
export { checkSaved, parseInput } from './input.js';
export { optimise } from './optimise.js';
export { print } from './print.js';
export type { Pushdown, PushTarget } from './push.js';
export { allOf, savedIn, writtenOut } from './saved.js';
export { KernelFilter, SessionFilter, sessionFilterOf, type Evaluation } from './session.js';
export { EventFilter, filterOf } from './where.js';
