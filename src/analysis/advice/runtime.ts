/** Names of the processes by which OCI runtimes start a container, up to the exec of its program: of runc, crun and youki. */
const RUNTIME = /^(runc|runc:\[.*|crun|youki|youki:\[.*)$/;

/**
 * Whether a process of a container is still its runtime's. A program can take such a name too: what it does then is not in the advice,
 * which refuses it more than it needs, and never less.
 */
export function isOfRuntime(comm: string): boolean {
  return RUNTIME.test(comm);
}
