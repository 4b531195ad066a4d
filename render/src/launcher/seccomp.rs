//! The system calls that a program may make which computes from files to its output. Everything else is answered with
//! "not permitted": sockets, new processes, namespaces, mounts, other processes' memory, signals and limits, io_uring, bpf,
//! keys, and whatever the kernel will learn next.
//!
//! A list of what is allowed, not of what is refused: calls by another numbering (x32) match nothing.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// Allowed with any arguments.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // files
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_preadv, libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64,
    libc::SYS_pwritev, libc::SYS_openat, libc::SYS_close, libc::SYS_close_range, libc::SYS_lseek, libc::SYS_fstat,
    libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_faccessat, libc::SYS_faccessat2,
    libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_mkdirat,
    libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_utimensat,
    libc::SYS_ftruncate, libc::SYS_truncate, libc::SYS_fallocate, libc::SYS_fadvise64, libc::SYS_fsync, libc::SYS_fdatasync,
    libc::SYS_flock, libc::SYS_fcntl, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_umask, libc::SYS_copy_file_range,
    libc::SYS_sendfile, libc::SYS_splice,
    // memory
    libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise, libc::SYS_mincore, libc::SYS_brk,
    // threads, signals to itself, waiting
    libc::SYS_futex, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_gettid, libc::SYS_set_tid_address,
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_membarrier, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_ppoll,
    libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2, libc::SYS_restart_syscall,
    // about itself
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_getpgid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid,
    libc::SYS_getegid, libc::SYS_getgroups, libc::SYS_getrlimit, libc::SYS_getrusage, libc::SYS_times, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getrandom,
    // to become the program
    libc::SYS_execve,
    // answered by the other filter
    libc::SYS_clone3,
];

/// The older names, which only some machines have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_getdents,
    libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_chmod, libc::SYS_dup2, libc::SYS_pipe,
    libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_time,
    libc::SYS_getpgrp, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// Installs the filters for the rest of this process' life. The strict one comes last: it takes away the call that
/// installs filters.
pub(super) fn apply() -> Result<(), Error> {
    // "There is no such call" makes the C library fall back to the one whose arguments a filter can see.
    let no_such_call = SeccompAction::Errno(libc::ENOSYS as u32);
    apply_filter(&compile([(libc::SYS_clone3, Vec::new())].into(), SeccompAction::Allow, no_such_call)?)?;
    apply_filter(&allowed()?)
}

fn allowed() -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let thread = libc::CLONE_THREAD as u64;
    // Threads, but no processes.
    rules.insert(libc::SYS_clone, vec![only(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // Signals to its own threads, limits of its own, names for its own memory.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![only(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?]);
    rules.insert(libc::SYS_prlimit64, vec![only(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)?]);
    rules.insert(libc::SYS_prctl, vec![only(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::PR_SET_VMA as u64)?]);
    compile(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

fn only(argument: u8, length: SeccompCmpArgLen, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    let condition = SeccompCondition::new(argument, length, operator, value).map_err(Error::Backend)?;
    SeccompRule::new(vec![condition]).map_err(Error::Backend)
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, Error> {
    let machine = std::env::consts::ARCH.try_into().map_err(Error::Backend)?;
    SeccompFilter::new(rules, otherwise, listed, machine).and_then(TryInto::try_into).map_err(Error::Backend)
}
