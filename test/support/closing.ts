/** Calls each in turn, also those after one that fails, and throws what the first that failed threw: a daemon must not outlive a test. */
export async function closeAll(...closes: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of closes) {
    try {
      await close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
