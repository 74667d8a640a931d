//! Programs that are started to provide something.

/// Has the kernel end a program that is started with us, whatever ends us: a build without anybody who waits for it is of no use.
pub fn ends_with_us(command: &mut std::process::Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        let die_with_parent = || Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?);
        // SAFETY: between fork and exec this makes one system call and allocates nothing.
        unsafe { command.pre_exec(die_with_parent) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}
