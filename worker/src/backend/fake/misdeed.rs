//! Every way in which a worker can go wrong, done for real.

use std::alloc::Layout;
use std::time::Duration;

use super::Fault;
use crate::backend::BackendError;

/// Does what `fault` says. Returns only for the faults that a process survives.
pub fn commit(fault: Fault, random: &mut dyn FnMut() -> u8) -> Result<(), BackendError> {
    match fault {
        Fault::WrongAnswers => Ok(()),
        Fault::OutOfMemory => Err(BackendError::OutOfMemory("scripted: no memory left".into())),
        Fault::NotAvailable => Err(BackendError::NotAvailable("scripted: the library isn't here".into())),
        Fault::Refused => Err(BackendError::Refused("scripted: this precision isn't supported".into())),
        Fault::Failed => Err(BackendError::Failed("scripted: the engine reported an error".into())),
        Fault::Garbage => {
            let mut bytes = b"Loading weights: 100%|##########| {\"event\":".to_vec();
            bytes.extend((0..24).map(|_| random()));
            bytes.push(b'\n');
            Err(BackendError::Garbage(bytes))
        }
        Fault::AllocationFailure => std::alloc::handle_alloc_error(Layout::new::<[u64; 1 << 24]>()),
        Fault::Killed => die_by(Signal::Kill),
        Fault::Crash => die_by(Signal::Segv),
        Fault::Exit => {
            eprintln!("scripted: this worker gives up");
            std::process::exit(3)
        }
        Fault::Hang => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
}

enum Signal {
    Kill,
    Segv,
}

fn die_by(signal: Signal) -> ! {
    use nix::sys::signal::{self, SigHandler};
    let signal = match signal {
        Signal::Kill => signal::Signal::SIGKILL,
        Signal::Segv => signal::Signal::SIGSEGV,
    };
    // SAFETY: the default disposition runs no code of ours.
    let _ = unsafe { signal::signal(signal, SigHandler::SigDfl) };
    let _ = signal::raise(signal);
    std::process::abort()
}
