//! NVIDIA's GPUs: by NVML, or else by what the driver and its programs leave for people to read.

use std::fs;
use std::path::Path;
use std::process::Command;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::card;
use super::gpu::{FoundBy, Gpu};
use crate::units::Bytes;

/// What is asked of `nvidia-smi`, in the order in which it answers.
const QUERY: &str = "--query-gpu=name,memory.total,driver_version,uuid,compute_cap,pci.bus_id";

/// The GPUs that CUDA numbers here, in the order of their buses, and why NVML couldn't be asked.
pub fn detect() -> (Vec<Gpu>, Option<String>) {
    let (gpus, no_nvml) = match by_nvml() {
        Ok(gpus) => (gpus, None),
        Err(error) => (without_nvml(Path::new("/"), ask_smi().as_deref()), Some(error.to_string())),
    };
    (visible(gpus, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()), no_nvml)
}

fn by_nvml() -> Result<Vec<Gpu>, NvmlError> {
    let nvml = Nvml::init()?;
    let driver = nvml.sys_driver_version()?;
    (0..nvml.device_count()?)
        .map(|index| {
            let device = nvml.device_by_index(index)?;
            // What some cards and containers don't tell is left out: only name and memory are needed.
            let capability = device.cuda_compute_capability().ok();
            Ok(Gpu {
                name: device.name()?,
                memory: Some(Bytes(device.memory_info()?.total)),
                memory_from_table: false,
                driver: driver.clone(),
                uuid: device.uuid().ok(),
                compute_capability: capability.map(|found| format!("{}.{}", found.major, found.minor)),
                pci_bus: device.pci_info().ok().map(|info| info.bus_id),
                found_by: FoundBy::Nvml,
            })
        })
        .collect()
}

/// What `nvidia-smi` prints, if that program is there and works.
fn ask_smi() -> Option<String> {
    let output = Command::new("nvidia-smi").args([QUERY, "--format=csv,noheader,nounits"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The GPUs by what `nvidia-smi` has printed, or else by the driver's files below `root`, which don't tell the memory.
fn without_nvml(root: &Path, printed: Option<&str>) -> Vec<Gpu> {
    let told: Vec<Gpu> = printed.unwrap_or_default().lines().filter_map(of_smi_line).collect();
    if told.is_empty() { by_proc(&root.join("proc/driver/nvidia")) } else { told }
}

fn of_smi_line(line: &str) -> Option<Gpu> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [name, mebibytes, driver, uuid, capability, bus] = fields.try_into().ok()?;
    // It writes `[N/A]` and the like for what a card doesn't tell.
    let told = |field: &str| (!field.is_empty() && !field.starts_with('[')).then(|| field.to_owned());
    let memory = mebibytes.parse().ok().and_then(|number: u64| number.checked_mul(Bytes::MIB)).map(Bytes);
    Some(completed(Gpu {
        name: told(name)?,
        memory,
        memory_from_table: false,
        driver: told(driver).unwrap_or_default(),
        uuid: told(uuid),
        compute_capability: told(capability),
        pci_bus: told(bus),
        found_by: FoundBy::NvidiaSmi,
    }))
}

fn by_proc(folder: &Path) -> Vec<Gpu> {
    let version = fs::read_to_string(folder.join("version")).unwrap_or_default();
    let driver = driver_version(&version).unwrap_or_default();
    let entries = fs::read_dir(folder.join("gpus")).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
    // They are named by the bus.
    folders.sort();
    let texts = folders.iter().filter_map(|gpu| fs::read_to_string(gpu.join("information")).ok());
    texts.filter_map(|text| of_information(&text, driver)).collect()
}

/// The version in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023`.
fn driver_version(text: &str) -> Option<&str> {
    let number = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.lines().next()?.split_whitespace().find(number)
}

fn of_information(text: &str, driver: &str) -> Option<Gpu> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        // Until a card is woken, question marks stand for its UUID, and "Unknown" for its model.
        line.map(str::trim).filter(|value| !value.contains('?') && *value != "Unknown").map(str::to_owned)
    };
    let excluded = field("GPU Excluded").is_some_and(|value| value == "Yes");
    let name = field("Model").filter(|_| !excluded)?;
    Some(completed(Gpu {
        name,
        memory: None,
        memory_from_table: false,
        driver: driver.to_owned(),
        uuid: field("GPU UUID"),
        compute_capability: None,
        pci_bus: field("Bus Location"),
        found_by: FoundBy::Proc,
    }))
}

/// Adds what the table says of a card of this name, where nobody told it.
fn completed(mut gpu: Gpu) -> Gpu {
    if let Some(card) = card::of_driver(&gpu.name, gpu.memory) {
        gpu.memory_from_table = gpu.memory.is_none();
        gpu.memory = gpu.memory.or_else(|| Some(card.memory()));
        gpu.compute_capability = gpu.compute_capability.or_else(|| card.compute_capability.clone());
    }
    gpu
}

/// What `CUDA_VISIBLE_DEVICES` leaves of all GPUs, in its order, so that `cuda:0` is the same here and in the workers.
/// An entry that means nothing hides what stands behind it: CUDA C++ Programming Guide, "CUDA Environment Variables".
fn visible(gpus: Vec<Gpu>, setting: Option<&str>) -> Vec<Gpu> {
    let Some(setting) = setting else { return gpus };
    let meant = |entry: &str| {
        let entry = entry.trim();
        let by_uuid = |gpu: &&Gpu| {
            entry.starts_with("GPU-") && gpu.uuid.as_ref().is_some_and(|uuid| uuid.starts_with(entry))
        };
        match entry.parse::<usize>() {
            Ok(index) => gpus.get(index),
            Err(_) => gpus.iter().find(by_uuid),
        }
    };
    setting.split(',').map_while(meant).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a DGX has it.
    const INFORMATION: &str = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 10\n\
        GPU UUID: \t GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b\nVideo BIOS: \t 96.00.99.00.01\nBus Type: \t PCIe\n\
        Bus Location: \t 0000:62:00.0\nDevice Minor: \t 5\nGPU Excluded:\t No\n";

    fn tree(gpus: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let driver = root.path().join("proc/driver/nvidia");
        for (bus, information) in gpus {
            let folder = driver.join("gpus").join(bus);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("information"), information).unwrap();
        }
        fs::create_dir_all(&driver).unwrap();
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n\
                       GCC version:  gcc version 11.4.0\n";
        fs::write(driver.join("version"), version).unwrap();
        root
    }

    #[test]
    fn the_driver_s_files_tell_the_card_and_the_table_its_memory() {
        let other = "Model: \t\t NVIDIA RTX 6000 Ada Generation\nGPU UUID: \t GPU-????????-????-????-????-????????????\n";
        let hidden = INFORMATION.replace("\t No", "\t Yes");
        let root = tree(&[
            ("0000:62:00.0", INFORMATION),
            ("0000:05:00.0", other),
            ("0000:99:00.0", &hidden),
            ("0000:9a:00.0", "Model: \t\t Unknown\n"),
        ]);
        let gpus = without_nvml(root.path(), None);
        let [ada, h100] = gpus.as_slice() else { panic!("{gpus:?}") };
        assert_eq!(
            *h100,
            Gpu {
                name: "NVIDIA H100 80GB HBM3".into(),
                memory: Some(Bytes(80 << 30)),
                memory_from_table: true,
                driver: "535.129.03".into(),
                uuid: Some("GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b".into()),
                compute_capability: Some("9.0".into()),
                pci_bus: Some("0000:62:00.0".into()),
                found_by: FoundBy::Proc,
            }
        );
        assert_eq!((&ada.uuid, ada.memory, ada.memory_from_table), (&None, None, false));
        assert!(h100.details(1).starts_with("cuda:1: NVIDIA H100 80GB HBM3 with 80.0 GiB as sold, "));
        assert!(ada.details(0).contains("with unknown memory"), "{}", ada.details(0));
        assert_eq!(without_nvml(Path::new("/nowhere/at/all"), None), []);
    }

    #[test]
    fn the_program_of_the_driver_is_believed_before_its_files() {
        let printed = "Tesla T4, 15360, 550.54.15, GPU-1f6e2c90-0000-1111-2222-333344445555, 7.5, 00000000:00:04.0\n\
                       Odd Card, [N/A], 550.54.15, [N/A], [N/A], 00000000:00:05.0\n";
        let root = tree(&[("0000:62:00.0", INFORMATION)]);
        let gpus = without_nvml(root.path(), Some(printed));
        let [t4, odd] = gpus.as_slice() else { panic!("{gpus:?}") };
        assert_eq!((t4.memory, t4.memory_from_table), (Some(Bytes(15360 << 20)), false));
        assert_eq!((t4.short_name().as_str(), t4.compute_capability.as_deref()), ("t4", Some("7.5")));
        assert_eq!((odd.memory, &odd.uuid, odd.short_name().as_str()), (None, &None, "oddcard"));
        for nothing in ["", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"]
        {
            assert_eq!(without_nvml(root.path(), Some(nothing)).len(), 1, "{nothing}");
        }
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build";
        assert_eq!(driver_version(open), Some("550.54.15"));
    }

    #[test]
    fn what_cuda_does_not_see_has_no_number() {
        let gpu =
            |name: &str| Gpu { name: name.into(), uuid: Some(format!("GPU-{name}-77")), ..Gpu::default() };
        let names = |setting: Option<&str>| {
            let seen = visible(["a", "b", "c"].map(gpu).into(), setting);
            seen.iter().map(|gpu| gpu.name.as_str()).collect::<String>()
        };
        for (setting, wanted) in [
            (None, "abc"),
            (Some("2,0"), "ca"),
            (Some("GPU-b, 0"), "ba"),
            (Some("0,9,1"), "a"),
            (Some("-1"), ""),
            (Some(""), ""),
        ] {
            assert_eq!(names(setting), wanted, "{setting:?}");
        }
    }
}
