import { describe, expect, it } from 'vitest';
import { rulesOf } from '../../../test/support/rules.js';
import { imported, problems, rule, translated } from '../../../test/support/falco.js';
import { reportOf } from './import.js';
import { parseCondition } from './syntax.js';

describe('the language of conditions', () => {
  it.each([
    ['a.b=1', '"="'],
    ['not(a.b exists)and(m or not not n)', '"exists"'],
    ['a.b in (x, "y z", \'(w)\')', '"y z"'],
    ['tolower(a.b[c]) startswith "x\\"y"', 'x\\"y'],
    ['a.b in ()', '"values":[]'],
    ['a.b=runc:[0:PARENT]', 'runc:[0:PARENT]'],
    ['a.b = val(c.d)', '"other":{"name":"c.d"'],
    ['a.b pmatch (/etc) and a.c intersects (list)', '"pmatch"'],
  ])('%s is read', (text, part) => {
    expect(JSON.stringify(parseCondition(text, 'where'))).toContain(part);
  });

  it.each([
    ['', 'where: 1:1: a field, a macro, "not" or "(" is expected here, but the condition ends'],
    ['a.b = 1 c', 'where: 1:9: "and", "or" or the end is expected here, not "c"'],
    ['(a.b = 1', 'where: 1:9: ")" is expected here, but the condition ends'],
    ['a.b like x', 'where: 1:5: an operator is expected here, one of'],
    ['a.b = "x', 'where: 1:7: the quote is not closed'],
    ['a.b in (x y)', 'where: 1:11: "," or ")" is expected here, not "y)"'],
    ['a.b = 1 and\n  and', 'where: 2:3: a field, a macro'],
    [`${'('.repeat(200)}m${')'.repeat(200)}`, 'is nested more than 100 deep'],
  ])('%s is refused with its place', (text, message) => {
    expect(() => parseCondition(text, 'where')).toThrow(message);
  });
});

describe('a comparison', () => {
  it.each<[string, string]>([
    ['evt.type=execve and proc.name=nc', 'exec: errno == null && process.comm == "nc"'],
    [
      'evt.type in (execve, execveat) and proc.name in (nc, ncat)',
      'exec: errno == null && process.comm in ["nc", "ncat"]',
    ],
    ['evt.type=execve and not proc.pname exists', 'exec: errno == null && process.parent.comm == null'],
    ['evt.type=execve and proc.args contains " -e"', 'exec: errno == null && args.join(" ").contains(" -e")'],
    [
      'evt.type=execve and proc.cmdline startswith "sh -c id"',
      'exec: errno == null && process.comm == "sh" && args.join(" ").matches("^[^ ]* -c id")',
    ],
    ['evt.type=execve and proc.cmdline = ls', 'exec: errno == null && process.comm == "ls" && size(args) == 1'],
    ['evt.type=execve and proc.exe endswith ssh', 'exec: errno == null && args.join(" ").matches("^[^ ]*ssh(?: |$)")'],
    ['evt.type=execve and proc.aname=sshd', 'exec: errno == null && process.ancestors.exists(p, p.comm == "sshd")'],
    ['evt.type=execve and proc.aname[1]=sshd', 'exec: errno == null && process.parent.comm == "sshd"'],
    ['evt.type=execve and proc.apid[3]=7', 'exec: errno == null && process.ancestors.exists(p, p.pid == 7)'],
    [
      'evt.type=execve and proc.cwd startswith /tmp/',
      'exec: errno == null && (cwd == "/tmp" || cwd.startsWith("/tmp/"))',
    ],
    ['evt.type=execve and proc.tty != 0', 'exec: errno == null && stdin == "TERMINAL"'],
    [
      'evt.type=execve and not proc.duration <= 5000000000',
      'exec: errno == null && !(time - process.startTime <= duration("5s"))',
    ],
    ['evt.type=execve and proc.nargs > 2', 'exec: errno == null && size(args) > 3'],
    [
      'evt.type=execve and evt.res=ENOENT and proc.name=sh',
      'exec: errno != null && errno == "ENOENT" && process.comm == "sh"',
    ],
    ['evt.type=execve and user.name in (root, www-data)', 'exec: errno == null && process.uid in [0, 33]'],
    ['evt.type=execve and user.name != root', 'exec: errno == null && !(process.uid == 0)'],
    ['evt.type=execve and container.id != host', 'exec: errno == null && container != null'],
    ['evt.type=execve and container.id = abc123', 'exec: errno == null && container.id.startsWith("abc123")'],
    [
      'evt.type=execve and container.image.repository = nginx',
      'exec: errno == null && container.image.matches("^nginx(?::[^:/@]*)?(?:@.*)?$")',
    ],
    ['evt.type=execve and container.privileged=true', 'exec: errno == null && container.privileged'],
    ['evt.type=execve and container.privileged=false', 'exec: errno == null && container.privileged == false'],
    [
      'evt.type=execve and k8s.ns.name = kube-system',
      'exec: errno == null && container.labels["io.kubernetes.pod.namespace"] == "kube-system"',
    ],
    ['evt.type=execve and container.label.tier = web', 'exec: errno == null && container.labels["tier"] == "web"'],
    ['evt.type=execve and tolower(proc.name) = nc', 'exec: errno == null && process.comm.matches("(?i)^nc$")'],
    [
      'evt.type=execve and basename(proc.exepath) = nc',
      'exec: errno == null && (executable.endsWith("/nc") || executable == "nc")',
    ],
    ['evt.type=execve and proc.exepath glob "/tmp/*/x?"', 'exec: errno == null && executable.glob("/tmp/*/x?")'],
    [
      'evt.type=execve and proc.exepath regex "/tmp/[0-9]+"',
      'exec: errno == null && executable.matches("^(?:/tmp/[0-9]+)$")',
    ],
    ['evt.type=execve and proc.is_exe_from_memfd=true', 'exec: errno == null && executable.startsWith("/memfd:")'],
    ['evt.type=execve and proc.name != "<NA>" and evt.num >= 0', 'exec: errno == null'],
    ['evt.type=openat and fd.name=/etc/shadow and evt.rawres>=0', 'open: errno == null && resolved == "/etc/shadow"'],
    [
      'evt.type=openat and fd.name startswith /var/run/ and fd.num>=0',
      'open: errno == null && (resolved.startsWith("/var/run/") || resolved.startsWith("/run/"))',
    ],
    [
      'evt.type=openat and fd.name=/etc/shadow and evt.failed=true',
      'open: errno != null && (path == "/etc/shadow" || directory == "/etc" && path == "shadow")',
    ],
    ['evt.type=openat and fd.directory=/etc and fd.num>=0', 'open: errno == null && resolved.matches("^/etc/[^/]+$")'],
    [
      'evt.type=openat and fd.filename=shadow and fd.num>=0',
      'open: errno == null && (resolved.endsWith("/shadow") || resolved == "shadow")',
    ],
    ['evt.type=openat and fd.typechar=f and fd.num>=0', 'open: errno == null && !("O_DIRECTORY" in flags)'],
    ['evt.type=open and evt.is_open_write=true', 'open: "O_WRONLY" in flags || "O_RDWR" in flags'],
    ['evt.type=open and evt.arg.flags contains O_TRUNC', 'open: flags.exists(x, x.contains("O_TRUNC"))'],
    [
      'evt.type=open and fd.name pmatch (/etc, /boot) and fd.num>=0',
      'open: errno == null && (resolved == "/etc" || resolved.startsWith("/etc/") || resolved == "/boot" || resolved.startsWith("/boot/"))',
    ],
    [
      'evt.type in (chmod, fchmodat) and evt.arg.mode contains S_ISUID',
      'fsop: fsopOperation == "CHMOD" && modeText.glob("??[sS]??????")',
    ],
    [
      'evt.type in (unlink, unlinkat, rename) and evt.arg.name=x',
      'fsop: fsopOperation in ["UNLINK", "RMDIR"] && path == "x"',
    ],
    [
      'evt.type=symlink and evt.arg.target=/etc and evt.arg.linkpath=x',
      'fsop: fsopOperation == "SYMLINK" && (path == "/etc" || directory == "/" && path == "etc") && newPath == "x"',
    ],
    [
      'evt.type=connect and fd.sip=1.2.3.4 and fd.sport=443',
      'tcp: tcpOperation in ["CONNECT", "CONNECT_FAILED"] && remoteAddress == "1.2.3.4" && remotePort == 443',
    ],
    [
      'evt.type=connect and fd.snet in ("10.0.0.0/8") and evt.rawres=0',
      'tcp: tcpOperation == "CONNECT" && cidr("10.0.0.0/8").containsIP(remoteAddress)',
    ],
    [
      'evt.type=connect and fd.sip.name=kubernetes.default.svc',
      'tcp: tcpOperation in ["CONNECT", "CONNECT_FAILED"] && remoteAddress == "10.96.0.1"',
    ],
    ['evt.type=connect and fd.name=/run/docker.sock', 'unix: unixOperation == "CONNECT" && path == "/run/docker.sock"'],
    [
      'evt.type=accept and fd.sport=22 and fd.type=ipv4',
      'tcp: tcpOperation == "ACCEPT" && localPort == 22 && ipVersion == 4',
    ],
    ['evt.type=listen and fd.sport in (80, 443)', 'bind: bindOperation == "LISTEN" && localPort in [80, 443]'],
    ['evt.type=sendto and fd.rport=53 and fd.l4proto=udp', 'udp: udpOperation == "SEND" && remotePort == 53'],
    [
      'evt.type=ptrace and evt.arg.request contains PTRACE_ATTACH',
      'privilege: privilegeCall == "PTRACE" && command.contains("PTRACE_ATTACH")',
    ],
    [
      'evt.type in (setuid, setgid) and proc.name=x',
      'privilege: privilegeCall in ["SETUID", "SETGID"] && process.comm == "x"',
    ],
    ['evt.type=bpf and evt.arg.cmd=5', 'privilege: privilegeCall == "BPF" && command == "BPF_PROG_LOAD"'],
    [
      'evt.type=kill and evt.arg.sig=9 and evt.rawres=0',
      'signal: code == "SI_USER" && errno == null && signal == "SIGKILL"',
    ],
    [
      'evt.type in (rename, unlink) and (evt.arg.oldpath=x or evt.arg.path=x)',
      'fsop: fsopOperation in ["RENAME", "UNLINK"] && path == "x"',
    ],
    ['evt.type in (rename, unlink) and evt.arg.newpath=x', 'fsop: fsopOperation == "RENAME" && newPath == "x"'],
    ['evt.type=setuid and evt.arg.uid=0', 'privilege: privilegeCall == "SETUID" && "uid=0" in arguments'],
    [
      'evt.type=setns and thread.cap_effective contains CAP_SYS_ADMIN',
      'privilege: privilegeCall == "SETNS" && capEffectiveBefore.exists(x, x.contains("CAP_SYS_ADMIN"))',
    ],
    [
      'evt.type=kill and evt.arg.sig=SIGKILL and evt.rawres=0',
      'signal: code == "SI_USER" && errno == null && signal == "SIGKILL"',
    ],
    [
      'evt.type=mount and evt.arg.type=proc',
      'mount: mountOperation in ["MOUNT", "BIND", "REMOUNT", "MOVE", "SET_PROPAGATION"] && fsType == "proc"',
    ],
    ['evt.type=userfaultfd and user.uid != 0', 'privilege: privilegeCall == "USERFAULTFD" && process.uid != 0'],
    ['evt.type=io_uring_setup and container.id != host', 'syscall: name == "io_uring_setup" && container != null'],
    ['evt.type=procexit and proc.name=init', 'exit: process.comm == "init"'],
  ])('%s is %s', (condition, expected) => {
    expect(translated(condition)).toEqual([expected]);
  });

  it('of several trackers is a rule for each, and those in which it cannot hold have none', () => {
    expect(translated('evt.type in (connect, openat) and proc.name=x and fd.typechar in (4, f)')).toEqual([
      'tcp: tcpOperation in ["CONNECT", "CONNECT_FAILED"] && process.comm == "x" && ipVersion == 4',
      'open: process.comm == "x" && !("O_DIRECTORY" in flags)',
    ]);
    expect(imported(rule('evt.type in (connect, openat) and proc.name=x')).rules[0]?.names).toEqual([
      'falco-a-rule-tcp',
      'falco-a-rule-unix',
      'falco-a-rule-open',
    ]);
  });

  it('of outcomes and calls that differ keeps them apart', () => {
    expect(translated('(evt.type=setuid and evt.arg.uid=0) or (evt.type=setgid and evt.failed=true)')).toEqual([
      'privilege: (privilegeCall == "SETUID" && "uid=0" in arguments) || (privilegeCall == "SETGID" && errno != null)',
    ]);
  });

  it.each<[string, string]>([
    ['proc.name=sh', 'does not say which event types it is about (evt.type), so that it concerns every system call'],
    ['evt.type != execve and proc.name=sh', 'does not say which event types it is about'],
    ['evt.type=container and proc.name=sh', 'no tracker has the event type container'],
    ['evt.type=execve and proc.is_exe_upper_layer=true', 'proc.is_exe_upper_layer=true: the layer of an executable'],
    ['evt.type=execve and proc.sid=1', 'proc.sid=1: sessions and groups of processes are not in the events'],
    ['evt.type=execve and proc.duration = 5', 'the age of a process is less or more than a number of nanoseconds'],
    ['evt.type=execve and x.y=1', 'x.y=1: no field of ours has it'],
    ['evt.type=execve and b64(proc.name)=x', 'there is no counterpart of b64()'],
    ['evt.type=execve and proc.name=val(proc.pname)', 'compares two fields'],
    ['evt.type=execve and user.uid=me', 'the value is no whole number'],
    ['evt.type=execve and proc.name bcontains 6e63', '"bcontains" does not apply to a text'],
    ['evt.type=openat and proc.tty=1', 'only the tracker exec knows of a terminal'],
    [
      'evt.type=socket and evt.arg.domain contains AF_PACKET',
      'evt.arg.domain contains AF_PACKET: the events have no arguments of socket',
    ],
    ['evt.type=connect and fd.name contains 443', 'the name of a socket is no text here; compare fd.sip and fd.sport'],
    ['evt.type=connect and fd.sip.name=other.host', 'give the addresses of other.host with --hosts'],
    ['evt.type=connect and fd.sip=host', 'its translation is refused: '],
    ['evt.type=execve and proc.name=a and proc.exepath regex "(("', 'its translation is refused: '],
    ['evt.type=execve and evt.type=open', 'its condition is never true'],
    ['evt.type=execve and gone', 'there is no macro "gone"'],
    ['evt.type=execve and proc.name = ', 'a value is expected here'],
  ])('%s is not translated', (condition, why) => {
    expect(problems(condition).join('\n')).toContain(why);
  });

  it('of users without a file of users is not translated, but for root', () => {
    const without = (condition: string) => imported(rule(condition), { facts: false }).rules[0];
    expect(without('evt.type=execve and user.name=bin')?.problems.join()).toContain(
      'give a file of users with --passwd',
    );
    expect(without('evt.type=execve and user.name=root')?.names).toHaveLength(1);
  });
});

describe('what has no counterpart', () => {
  const approximate = (condition: string): { text: string; left: readonly string[]; problems: readonly string[] } => {
    const { text, rules } = imported(rule(condition), { approximate: true });
    const [found] = text.includes('rules: []') ? [] : rulesOf(text).definition.rules;
    return {
      text: found?.steps[0]?.condition.first.text ?? '',
      left: rules[0]?.left ?? [],
      problems: rules[0]?.problems ?? [],
    };
  };

  it.each([
    ['proc.name=sh and proc.sid=1', 'errno == null && process.comm == "sh"'],
    ['proc.name=sh and not proc.sid=1', 'errno == null && process.comm == "sh"'],
    [
      'proc.name=sh and not (proc.pname=x or proc.sid=1)',
      'errno == null && process.comm == "sh" && !(process.parent.comm == "x")',
    ],
    ['proc.name=sh and not (proc.pname=x and proc.sid=1)', 'errno == null && process.comm == "sh"'],
    ['proc.name=sh and (proc.pname=x or proc.sid=1)', 'errno == null && process.comm == "sh"'],
  ])('is left out so that the rule never fires less: %s', (condition, expected) => {
    expect(approximate(`evt.type=execve and ${condition}`)).toEqual({
      text: expected,
      left: ['proc.sid=1 is left out: sessions and groups of processes are not in the events'],
      problems: [],
    });
  });

  it('is no reason for a rule on every event', () => {
    const { problems: why, text } = approximate('evt.type=execve and proc.sid=1');
    expect(text).toBe('');
    expect(why).toContain('nothing would be left of the condition for execve');
  });

  it('is told in the file and in the report', () => {
    const result = imported(rule('evt.type=execve and proc.name=sh and proc.sid=1'), { approximate: true });
    expect(result.text).toContain('# FIRES MORE OFTEN: proc.sid=1 is left out');
    expect(reportOf(result).split('\n')).toEqual([
      'approximate: A rule (rules.yaml:2)',
      '    proc.sid=1 is left out: sessions and groups of processes are not in the events',
      '1 of 1 rules translated',
    ]);
    expect(reportOf(imported(rule('evt.type=execve and proc.sid=1'))).split('\n')).toEqual([
      'not translated: A rule (rules.yaml:2)',
      '    proc.sid=1: sessions and groups of processes are not in the events',
      '0 of 1 rules translated',
    ]);
  });
});
