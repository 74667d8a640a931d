//! The devices that CUDA shows to programs here, in its order and under its numbers: `CUDA_VISIBLE_DEVICES`, instances of
//! MIG and containers are its own affair. Nothing is taken of their memory.

use std::ffi::{CStr, c_char, c_int, c_uint};

use serde::{Deserialize, Serialize};

use super::functions::functions;
use super::places;

functions! {
    Functions;
    init = b"cuInit" (c_uint);
    error_string = b"cuGetErrorString" (c_int, *mut *const c_char);
    version = b"cuDriverGetVersion" (*mut c_int);
    count = b"cuDeviceGetCount" (*mut c_int);
    device = b"cuDeviceGet" (*mut c_int, c_int);
    name = b"cuDeviceGetName" (*mut c_char, c_int, c_int);
    uuid = b"cuDeviceGetUuid_v2" (*mut [u8; 16], c_int);
    attribute = b"cuDeviceGetAttribute" (*mut c_int, c_int, c_int);
    total_memory = b"cuDeviceTotalMem_v2" (*mut usize, c_int);
    bus = b"cuDeviceGetPCIBusId" (*mut c_char, c_int, c_int);
}

/// Numbers of cuda.h.
const SUCCESS: c_int = 0;
const NO_DEVICE: c_int = 100;
const CAPABILITY: [c_int; 2] = [75, 76];

/// The version of CUDA that a driver can, such as 13.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CudaVersion {
    pub major: u32,
    pub minor: u32,
}

impl CudaVersion {
    /// From the driver's number, 13000 for 13.0.
    pub fn of_number(number: i32) -> CudaVersion {
        let number = number.unsigned_abs();
        CudaVersion { major: number / 1000, minor: number % 1000 / 10 }
    }
}

impl std::fmt::Display for CudaVersion {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

impl std::str::FromStr for CudaVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<CudaVersion, ()> {
        let mut numbers = text.trim().split('.').map(str::parse);
        match (numbers.next(), numbers.next().unwrap_or(Ok(0))) {
            (Some(Ok(major)), Ok(minor)) => Ok(CudaVersion { major, minor }),
            _ => Err(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaDevice {
    pub name: String,
    pub memory_bytes: u64,
    /// Major and minor.
    pub capability: (u32, u32),
    /// The digits of its UUID, in groups; whether it's a card or an instance of MIG, CUDA doesn't tell.
    pub uuid: Option<String>,
    pub bus: Option<String>,
}

/// Why CUDA can't be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoCuda {
    /// There is no driver, or none of its parts that compute.
    NoLibrary(String),
    Fails(String),
}

/// The driver's version and its devices, or why it can't be asked.
pub fn devices() -> Result<(CudaVersion, Vec<CudaDevice>), NoCuda> {
    let library = places::cuda()
        .map_err(|error| NoCuda::NoLibrary(format!("{} can't be loaded: {error}", places::CUDA)))?;
    asked(library).map_err(NoCuda::Fails)
}

fn asked(library: libloading::Library) -> Result<(CudaVersion, Vec<CudaDevice>), String> {
    let functions =
        Functions::load(library).map_err(|error| format!("{} is too old: {error}", places::CUDA))?;
    let failed = |what: &str, status: c_int| {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: the driver gives a text that lives for ever, or leaves the pointer alone.
        let text = unsafe {
            (functions.error_string)(status, &mut text);
            if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy() }
        };
        format!("{what}: {text} (CUDA error {status})")
    };
    let check =
        |what: &str, status: c_int| if status == SUCCESS { Ok(()) } else { Err(failed(what, status)) };
    let mut number = 0;
    // SAFETY: all pointers here and below are to places of the right types and sizes.
    check("cuDriverGetVersion", unsafe { (functions.version)(&mut number) })?;
    let version = CudaVersion::of_number(number);
    // SAFETY: it has no pointers.
    match unsafe { (functions.init)(0) } {
        NO_DEVICE => return Ok((version, Vec::new())),
        status => check("cuInit", status)?,
    }
    let mut count = 0;
    // SAFETY: as above.
    match unsafe { (functions.count)(&mut count) } {
        NO_DEVICE => return Ok((version, Vec::new())),
        status => check("cuDeviceGetCount", status)?,
    }
    let device = |place: c_int| {
        let (mut device, mut memory) = (0, 0);
        let (mut name, mut bus, mut uuid) = ([0 as c_char; 256], [0 as c_char; 32], [0u8; 16]);
        let mut capability = [0; 2];
        // SAFETY: as above.
        unsafe {
            check("cuDeviceGet", (functions.device)(&mut device, place))?;
            check("cuDeviceGetName", (functions.name)(name.as_mut_ptr(), name.len() as c_int, device))?;
            check("cuDeviceTotalMem", (functions.total_memory)(&mut memory, device))?;
            for (value, attribute) in capability.iter_mut().zip(CAPABILITY) {
                check("cuDeviceGetAttribute", (functions.attribute)(value, attribute, device))?;
            }
            let has_uuid = (functions.uuid)(&mut uuid, device) == SUCCESS;
            let has_bus = (functions.bus)(bus.as_mut_ptr(), bus.len() as c_int, device) == SUCCESS;
            let text = |chars: &[c_char]| CStr::from_ptr(chars.as_ptr()).to_string_lossy().into_owned();
            Ok(CudaDevice {
                name: text(&name),
                memory_bytes: memory as u64,
                capability: (capability[0].unsigned_abs(), capability[1].unsigned_abs()),
                uuid: has_uuid.then(|| grouped(&uuid)),
                bus: has_bus.then(|| text(&bus)),
            })
        }
    };
    Ok((version, (0..count).map(device).collect::<Result<_, String>>()?))
}

/// As people write it: 8, 4, 4, 4 and 12 digits.
fn grouped(uuid: &[u8; 16]) -> String {
    let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| &digits[group]).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_drivers_and_toolkits_write_them() {
        assert_eq!(CudaVersion::of_number(12040).to_string(), "12.4");
        assert_eq!("13.0".parse(), Ok(CudaVersion { major: 13, minor: 0 }));
        assert_eq!("12.4.131".parse(), Ok(CudaVersion { major: 12, minor: 4 }));
        assert!("12.4".parse::<CudaVersion>() < "12.10".parse::<CudaVersion>());
        assert!("new".parse::<CudaVersion>().is_err() && "".parse::<CudaVersion>().is_err());
    }

    #[test]
    fn a_uuid_is_written_as_people_write_it() {
        let uuid: [u8; 16] = std::array::from_fn(|place| place as u8);
        assert_eq!(grouped(&uuid), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
