//! NVIDIA's GPUs: by NVML, or else by what the driver and its programs leave for people to read; and which of them CUDA
//! shows to programs, under which numbers.

use std::fs;
use std::path::Path;
use std::process::Command;

use nvml_wrapper::device::Device;
use nvml_wrapper::error::NvmlError;
use serde::{Deserialize, Serialize};

use super::card;
use super::driver::{CudaVersion, Driver};
use super::gpu::{FoundBy, Gpu};
use crate::backend::Missing;
use crate::backend::gpu::devices::{CudaDevice, NoCuda};
use crate::backend::gpu::places;
use crate::units::Bytes;

/// What is asked of `nvidia-smi`, in the order in which it answers.
const QUERY: &str = "--query-gpu=name,memory.total,driver_version,uuid,compute_cap,pci.bus_id";

/// The GPUs of the machine, whether CUDA shows them or not, in the order of their buses. A card that is divided by MIG is its
/// instances: it can't be used as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listed {
    pub gpus: Vec<Gpu>,
    /// The CUDA that NVML says the driver can.
    pub cuda: Option<CudaVersion>,
    /// Why NVML couldn't be asked.
    pub no_nvml: Option<String>,
}

pub fn listed() -> Listed {
    match by_nvml() {
        Ok((gpus, cuda)) => Listed { gpus, cuda, no_nvml: None },
        Err(error) => Listed {
            gpus: without_nvml(Path::new("/"), ask_smi().as_deref()),
            cuda: None,
            no_nvml: Some(said(&error)),
        },
    }
}

/// Why NVML can't be asked. What the loader says of a library that isn't here is no news.
fn said(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "NVIDIA's library libnvidia-ml.so.1 isn't on this machine, or can't be loaded".to_owned()
        }
        other => other.to_string(),
    }
}

/// What CUDA shows: the version that the driver can, and its devices; or why it can't be asked.
pub type Shown = Result<(CudaVersion, Vec<CudaDevice>), NoCuda>;

/// Both, or why the driver doesn't answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub listed: Result<Listed, String>,
    pub shown: Result<Shown, String>,
}

/// The GPUs as workers will see them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    pub gpus: Vec<Gpu>,
    pub driver: Option<Driver>,
    pub no_nvml: Option<String>,
    /// Why nothing can be computed on them.
    pub no_cuda: Option<Missing>,
    /// Whether the driver never answered.
    pub hangs: bool,
    /// Those that are in the machine, and not shown to programs.
    pub hidden: Vec<String>,
}

/// Puts together what the driver told.
pub fn found(told: Told, setting: Option<&str>) -> Found {
    let (listed, hangs) = match told.listed {
        Ok(listed) => (listed, None),
        // Its files are read without it.
        Err(why) => {
            let gpus = by_proc(Path::new("/proc/driver/nvidia"));
            let no_nvml = Some(format!("NVIDIA's driver doesn't answer: {why}"));
            (Listed { gpus, cuda: None, no_nvml }, Some(why))
        }
    };
    let hung = hangs.is_some() || told.shown.is_err();
    let shown = match (hangs, told.shown) {
        (None, Ok(shown)) => shown.map_err(|no| match no {
            // Where nobody lists a card either there is just no driver, which nothing lacks.
            NoCuda::NoLibrary(_) if listed.gpus.is_empty() => None,
            NoCuda::NoLibrary(why) | NoCuda::Fails(why) => Some(broken(why)),
        }),
        (Some(why), _) | (None, Err(why)) => Err(Some(hanging(&why))),
    };
    Found { hangs: hung, ..merged(listed, shown, setting) }
}

fn merged(
    listed: Listed,
    shown: Result<(CudaVersion, Vec<CudaDevice>), Option<Missing>>,
    setting: Option<&str>,
) -> Found {
    let Listed { gpus: all, cuda: told, no_nvml } = listed;
    let version = all.iter().map(|gpu| gpu.driver.clone()).find(|version| !version.is_empty());
    let (gpus, cuda, no_cuda) = match shown {
        Ok((cuda, devices)) => {
            let gpu = |device: &CudaDevice| of_cuda(device, &all, version.as_deref().unwrap_or_default());
            (devices.iter().map(gpu).collect(), Some(cuda), None)
        }
        Err(missing) => (visible(all.clone(), setting), told, missing),
    };
    let is_shown = |gpu: &&Gpu| gpus.iter().any(|shown| same(shown, gpu));
    let hidden = all.iter().filter(|gpu| !is_shown(gpu)).map(|gpu| gpu.name.clone()).collect();
    let driver =
        (version.is_some() || cuda.is_some()).then(|| Driver::new(&version.unwrap_or_default(), cuda));
    Found { gpus, driver, no_nvml, no_cuda, hangs: false, hidden }
}

fn broken(why: String) -> Missing {
    let remedy = "install or repair NVIDIA's driver (580 or later); start a container with --gpus all and \
                  NVIDIA_DRIVER_CAPABILITIES=compute,utility; or tune for the processor with --gpu cpu";
    Missing { why: format!("CUDA can't be used: {why}"), remedy: remedy.to_owned() }
}

fn hanging(why: &str) -> Missing {
    Missing {
        why: format!("NVIDIA's driver doesn't answer: {why}"),
        remedy: "restart the machine (`nvidia-smi` shows whether the driver answers again), or tune for the processor with \
                 --gpu cpu"
            .to_owned(),
    }
}

/// The digits of a UUID, without what says of what it is one.
fn digits(uuid: &str) -> &str {
    uuid.split_once('-').filter(|(kind, _)| matches!(*kind, "GPU" | "MIG")).map_or(uuid, |(_, digits)| digits)
}

/// Whether two descriptions are of the same GPU.
fn same(left: &Gpu, right: &Gpu) -> bool {
    match (&left.uuid, &right.uuid) {
        (Some(left), Some(right)) => digits(left).eq_ignore_ascii_case(digits(right)),
        _ => left.pci_bus.is_some() && bus(left) == bus(right),
    }
}

/// Where it is, whoever wrote it: CUDA's domains have four digits, and NVML's eight.
fn bus(gpu: &Gpu) -> Option<String> {
    let (domain, place) = gpu.pci_bus.as_ref()?.split_once(':')?;
    Some(format!("{:x}:{}", u32::from_str_radix(domain, 16).ok()?, place.to_ascii_lowercase()))
}

/// What CUDA shows, with what others tell of the same.
fn of_cuda(device: &CudaDevice, listed: &[Gpu], driver: &str) -> Gpu {
    let (major, minor) = device.capability;
    let own = Gpu {
        name: device.name.clone(),
        memory: Some(Bytes(device.memory_bytes)),
        memory_from_table: false,
        driver: driver.to_owned(),
        uuid: device.uuid.as_ref().map(|digits| {
            let kind = if device.name.contains(" MIG ") { "MIG" } else { "GPU" };
            format!("{kind}-{digits}")
        }),
        compute_capability: Some(format!("{major}.{minor}")),
        pci_bus: device.bus.clone(),
        found_by: FoundBy::Cuda,
    };
    match listed.iter().find(|gpu| same(gpu, &own)) {
        // What was sold is less exact than what CUDA tells.
        Some(gpu) if gpu.memory.is_some() && !gpu.memory_from_table => {
            Gpu { compute_capability: own.compute_capability, ..gpu.clone() }
        }
        Some(gpu) => Gpu { uuid: gpu.uuid.clone().or(own.uuid.clone()), ..own },
        None => own,
    }
}

fn by_nvml() -> Result<(Vec<Gpu>, Option<CudaVersion>), NvmlError> {
    let nvml = places::nvml()?;
    let driver = nvml.sys_driver_version()?;
    let mut gpus = Vec::new();
    for index in 0..nvml.device_count()? {
        let device = nvml.device_by_index(index)?;
        let instances = instances(&device);
        if instances.is_empty() {
            gpus.push(of_nvml(&device, &device, &driver)?);
        }
        for instance in instances {
            gpus.push(of_nvml(&instance, &device, &driver)?);
        }
    }
    // NVML's order is the buses' already.
    Ok((gpus, nvml.sys_cuda_driver_version().ok().map(CudaVersion::of_number)))
}

/// The instances of a card that MIG divides.
fn instances<'n>(device: &Device<'n>) -> Vec<Device<'n>> {
    // Cards without MIG say that they don't support the question.
    let divided = device.mig_mode().is_ok_and(|mode| mode.current == 1);
    let most = if divided { device.mig_device_count().unwrap_or(0) } else { 0 };
    (0..most).filter_map(|index| device.mig_device_by_index(index).ok()).collect()
}

/// A card, or an instance of one, which doesn't tell what it has in common with its card.
fn of_nvml(device: &Device, card: &Device, driver: &str) -> Result<Gpu, NvmlError> {
    // What some cards, containers and older drivers don't tell is left out: only the name is needed.
    let capability = device.cuda_compute_capability().or_else(|_| card.cuda_compute_capability()).ok();
    let bus = device.pci_info().or_else(|_| card.pci_info()).ok();
    Ok(completed(Gpu {
        name: device.name()?,
        memory: device.memory_info().ok().map(|memory| Bytes(memory.total)),
        memory_from_table: false,
        driver: driver.to_owned(),
        uuid: device.uuid().ok(),
        compute_capability: capability.map(|found| format!("{}.{}", found.major, found.minor)),
        pci_bus: bus.map(|info| info.bus_id),
        found_by: FoundBy::Nvml,
    }))
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

/// What `CUDA_VISIBLE_DEVICES` leaves of all GPUs, in its order, so that `cuda:0` is the same here and in the workers, where
/// CUDA itself can't be asked. An entry that means nothing hides what stands behind it: CUDA C++ Programming Guide, "CUDA Environment Variables".
fn visible(gpus: Vec<Gpu>, setting: Option<&str>) -> Vec<Gpu> {
    let Some(setting) = setting else { return gpus };
    let meant = |entry: &str| {
        let entry = entry.trim();
        let by_uuid = |gpu: &&Gpu| {
            (entry.starts_with("GPU-") || entry.starts_with("MIG-"))
                && gpu.uuid.as_ref().is_some_and(|uuid| uuid.starts_with(entry))
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

    fn listed(gpus: &[(&str, &str, &str)]) -> Listed {
        let gpu = |(name, uuid, bus): &(&str, &str, &str)| Gpu {
            name: (*name).into(),
            memory: Some(Bytes(24 << 30)),
            driver: "580.65.06".into(),
            uuid: Some((*uuid).into()),
            pci_bus: Some((*bus).into()),
            ..Gpu::default()
        };
        Listed { gpus: gpus.iter().map(gpu).collect(), cuda: None, no_nvml: None }
    }

    fn device(name: &str, uuid: Option<&str>, bus: &str) -> CudaDevice {
        CudaDevice {
            name: name.into(),
            memory_bytes: 25 << 30,
            capability: (8, 6),
            uuid: uuid.map(str::to_owned),
            bus: Some(bus.into()),
        }
    }

    fn told(listed: Listed, version: &str, devices: Vec<CudaDevice>) -> Found {
        merged(listed, Ok((version.parse().unwrap(), devices)), None)
    }

    #[test]
    fn cuda_says_which_of_the_listed_there_are_and_in_which_order() {
        let both = listed(&[("a", "GPU-01", "00000000:01:00.0"), ("b", "GPU-02", "00000000:02:00.0")]);
        // The second alone, by its UUID or, of an older driver, by its bus.
        for uuid in [Some("02"), None] {
            let found = told(both.clone(), "13.0", vec![device("B", uuid, "0000:02:00.0")]);
            let [gpu] = found.gpus.as_slice() else { panic!("{found:?}") };
            assert_eq!((gpu.name.as_str(), gpu.uuid.as_deref()), ("b", Some("GPU-02")));
            assert_eq!((gpu.memory, gpu.capability()), (Some(Bytes(24 << 30)), Some((8, 6))));
            assert_eq!((found.hidden, found.no_cuda), (vec!["a".to_owned()], None));
        }
        let none = told(both, "13.0", vec![]);
        assert_eq!((none.gpus.len(), none.hidden.len()), (0, 2));
    }

    #[test]
    fn an_instance_of_mig_is_found_by_its_digits() {
        let instances = listed(&[
            ("A100 MIG 1g.5gb", "MIG-0a", "00000000:01:00.0"),
            ("A100 MIG 2g.10gb", "MIG-0b", "00000000:01:00.0"),
        ]);
        let found = told(instances, "12.2", vec![device("A100 MIG 2g.10gb", Some("0B"), "0000:01:00.0")]);
        assert_eq!(found.gpus[0].uuid.as_deref(), Some("MIG-0b"));
        assert_eq!(found.hidden, ["A100 MIG 1g.5gb"]);
        // A version by the driver's own number, and CUDA's by CUDA.
        assert_eq!(found.driver.unwrap().line(), "driver 580.65.06, which supports CUDA 12.2");
    }

    #[test]
    fn in_a_container_without_nvml_cuda_alone_tells() {
        let nothing = Listed { no_nvml: Some("no library".into()), ..Listed::default() };
        let found = told(nothing.clone(), "13.0", vec![device("NVIDIA L4", Some("01"), "0000:01:00.0")]);
        assert_eq!((found.gpus[0].found_by, found.gpus[0].memory), (FoundBy::Cuda, Some(Bytes(25 << 30))));
        assert_eq!(found.driver.unwrap().cuda.unwrap().to_string(), "13.0");
        // A machine without anything lacks nothing.
        let found = merged(nothing, Err(None), None);
        assert_eq!((found.gpus.len(), found.no_cuda, found.driver), (0, None, None));
    }

    #[test]
    fn a_driver_that_does_not_compute_or_answer_is_told_of() {
        let one = || listed(&[("a", "GPU-01", "00000000:01:00.0")]);
        let found = super::found(
            Told {
                listed: Ok(one()),
                shown: Ok(Err(NoCuda::NoLibrary("libcuda.so.1 can't be loaded".into()))),
            },
            None,
        );
        assert!(
            found.no_cuda.as_ref().unwrap().to_string().contains("NVIDIA_DRIVER_CAPABILITIES"),
            "{found:?}"
        );
        let told = Told { listed: Ok(one()), shown: Err("no answer within 30.0 s".into()) };
        let found = super::found(told, None);
        assert_eq!(found.gpus.len(), 1);
        let missing = found.no_cuda.unwrap();
        assert_eq!(missing.why, "NVIDIA's driver doesn't answer: no answer within 30.0 s");
        assert!(missing.remedy.starts_with("restart the machine"));
        // A container in which CUDA alone could tell, and fails: never as if there were nothing.
        let told = Told { listed: Ok(Listed::default()), shown: Ok(Err(NoCuda::Fails("cuInit: x".into()))) };
        assert!(super::found(told, None).no_cuda.unwrap().why.contains("cuInit: x"));
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
