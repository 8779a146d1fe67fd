import type { ExecutionResult } from 'graphql';

type Result = ExecutionResult | Promise<ExecutionResult>;

/**
 * One run of a compiled operation. graphql-jit carries on in callbacks of the promises that resolvers return, and lets
 * them throw: the run would never end, and Node would end the process for a rejection that nobody handles. So what
 * resolvers return is `watched`: what a callback throws fails the run, and a run that has failed is not carried on.
 */
export class Run {
  #failed = false;
  #fail: (nothing: null) => void = () => {};
  readonly #failure = new Promise<null>((resolve) => (this.#fail = resolve));

  /** Executes a compiled operation. Null, or resolves to null, when anything in it has thrown. */
  of(execute: () => Result): ExecutionResult | null | Promise<ExecutionResult | null> {
    try {
      const result = execute();
      return result instanceof Promise ? Promise.race([result, this.#failure]).catch(() => null) : result;
    } catch {
      this.#end();
      return null;
    }
  }

  /** What a resolver returned: where it is a promise, or a list with promises, with callbacks that may throw. */
  watched(value: unknown): unknown {
    if (value instanceof Promise) return this.#watch(value);
    if (Array.isArray(value) && value.some((item) => item instanceof Promise))
      return value.map((item) => this.watched(item));
    return value;
  }

  #watch(promise: Promise<unknown>): object {
    return {
      // oxlint-disable-next-line unicorn/no-thenable -- it stands for the promise: graphql-jit calls nothing else of it
      then: (onValue: (value: unknown) => void, onError: (error: unknown) => void): void => {
        promise.then(
          (value) => this.#carryOn(() => onValue(this.watched(value))),
          (error: unknown) => this.#carryOn(() => onError(error)),
        );
      },
    };
  }

  #carryOn(callback: () => void): void {
    if (this.#failed) return;
    try {
      callback();
    } catch {
      this.#end();
    }
  }

  #end(): void {
    this.#failed = true;
    this.#fail(null);
  }
}
