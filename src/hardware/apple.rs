//! Apple's GPUs, which are a part of the processor and share its memory.

use std::process::Command;

use super::card::share_of_unified;
use super::gpu::{FoundBy, Gpu};
use crate::units::Bytes;

/// What macOS says of its processor and its memory; nothing elsewhere.
pub struct Processor {
    pub name: String,
    pub memory: Option<Bytes>,
}

impl Processor {
    pub fn detect() -> Option<Processor> {
        Some(Processor::of(&sysctl("machdep.cpu.brand_string")?, &sysctl("hw.memsize").unwrap_or_default()))
    }

    fn of(brand: &str, memory_size: &str) -> Processor {
        Processor { name: brand.trim().to_owned(), memory: memory_size.trim().parse().ok().map(Bytes) }
    }

    /// The GPU in it: a processor of Apple's own has one, and of Intel's we know nothing.
    pub fn gpu(&self) -> Option<Gpu> {
        self.name.starts_with("Apple ").then(|| Gpu {
            name: self.name.clone(),
            memory: self.memory.map(share_of_unified),
            found_by: FoundBy::Sysctl,
            ..Gpu::default()
        })
    }
}

fn sysctl(name: &str) -> Option<String> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let output = Command::new("/usr/sbin/sysctl").args(["-n", name]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_of_apple_has_a_gpu_that_uses_a_share_of_its_memory() {
        let gpu = Processor::of("Apple M2 Max\n", "68719476736\n").gpu().unwrap();
        assert_eq!((gpu.name.as_str(), gpu.short_name().as_str()), ("Apple M2 Max", "m2max"));
        assert_eq!((gpu.memory, gpu.device(0).as_str()), (Some(Bytes(48 << 30)), "mps"));
        assert_eq!(Processor::of("Apple M2 Max", "much").gpu().unwrap().memory, None);
        assert_eq!(Processor::of("Intel(R) Core(TM) i7-8850H CPU @ 2.60GHz", "17179869184").gpu(), None);
    }
}
