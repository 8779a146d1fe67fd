/** What Docker gives a container that asks for nothing else. */

/** System calls that its profile refuses without further capabilities, as its documentation lists them, and those that came later. */
const blocked: ReadonlySet<string> = new Set(
  (
    '_sysctl acct add_key afs_syscall bpf clock_adjtime clock_settime create_module delete_module fanotify_init ' +
    'finit_module fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy getpmsg init_module io_uring_enter ' +
    'io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind ' +
    'migrate_pages mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at ' +
    'open_tree perf_event_open pivot_root putpmsg query_module quotactl quotactl_fd reboot request_key security ' +
    'set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday stime swapoff swapon sysfs ' +
    'syslog tuxcall umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old vserver'
  ).split(' '),
);

/** Whether Docker's default profile allows a call, with any arguments or with some. */
export function isAllowedByDefault(call: string): boolean {
  return !blocked.has(call);
}

/** Devices that every container has, by type, major and minor number; "*" stands for any. */
const devices: ReadonlySet<string> = new Set(
  ['1:3', '1:5', '1:7', '1:8', '1:9', '5:0', '5:1', '5:2', '136:*'].map((numbers) => `CHARACTER ${numbers}`),
);

export function isDefaultDevice({ type, major, minor }: { type: string; major: number; minor: number }): boolean {
  return devices.has(`${type} ${major}:${minor}`) || devices.has(`${type} ${major}:*`);
}
