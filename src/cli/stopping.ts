/**
 * A signal may come twice at once: Ctrl-C reaches every process of the terminal, and npm and timeout(1) pass on what they get.
 * What comes within this time of the first is the same request.
 */
const echoMs = 1000;

/** What the signals mean that end a process: the first one asks it to end in order, one that comes later ends it at once. */
export function stopping(exit: (code: number) => void, now: () => number = () => performance.now()) {
  const controller = new AbortController();
  let first = 0;
  const receive = (name: string): void => {
    if (!controller.signal.aborted) {
      first = now();
      controller.abort();
    } else if (now() - first > echoMs) {
      // It is meant: what the kernel holds for us goes with the process.
      exit(name === 'SIGINT' ? 130 : 143);
    }
  };
  return { signal: controller.signal, receive };
}
