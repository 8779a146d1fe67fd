const LONGEST_MS = 2 ** 31 - 1; // setTimeout fires at once beyond it

/** Calls `then` after `ms`, however long that is. Returns a function that calls it off. Does not keep the process alive. */
export function after(ms: number, then: () => void): () => void {
  const until = Date.now() + ms;
  let timer: NodeJS.Timeout;
  const wait = () => {
    const left = until - Date.now();
    timer = setTimeout(left > LONGEST_MS ? wait : then, Math.min(Math.max(left, 0), LONGEST_MS)).unref();
  };
  wait();
  return () => clearTimeout(timer);
}

/** Resolves when the work is done or the signal aborts. Leaves nothing at the signal, which may last as long as the session. */
export async function orAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  let leave = (): void => {};
  const aborted = new Promise<void>((resolve) => (leave = resolve));
  signal.addEventListener('abort', leave, { once: true });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
