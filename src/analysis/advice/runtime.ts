import type { ProcessView } from '../../event/event.js';

/**
 * The mount namespace in which a machine boots is numbered before those that are made later: 4026531832 from Linux 6.17, 4026531840 or
 * 4026531841 before.
 */
const LAST_BOOT_NS = 0xf0000001;
/** Names of a runtime's processes in that namespace: it executes itself anew, from /proc/self/exe, a descriptor or a memfd. */
const OUTSIDE = /^(exe|\d+|memfd:.*|runc|runc:\[.*|crun|youki|youki:\[.*)$/;
/** Their names in the container's mount namespace, up to the exec of its program. A `runc` there is one that the container has executed. */
const INSIDE = /^(runc:\[.*|crun|youki|youki:\[.*)$/;

/**
 * Whether a process of a container is still its runtime's (runc, crun, youki). A program can take a name of INSIDE too: what it does then
 * is not in the advice, which refuses it more than it needs, and never less.
 */
export function isOfRuntime({ comm, mountNs }: Pick<ProcessView, 'comm' | 'mountNs'>): boolean {
  return (mountNs !== null && Number(mountNs) <= LAST_BOOT_NS ? OUTSIDE : INSIDE).test(comm);
}
