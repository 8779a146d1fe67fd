/**
 * Aborts after so many milliseconds, with a TimeoutError, whoever holds it. `AbortSignal.timeout` does not where `AbortSignal.any` alone
 * refers to it: Node 20 collects it as garbage, and the request for which it was made waits for ever.
 */
export function timeoutSignal(ms: number): AbortSignal {
  const controller = new AbortController();
  const late = (): void =>
    controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError'));
  setTimeout(late, ms).unref(); // the event loop's list of timers holds it
  return controller.signal;
}
