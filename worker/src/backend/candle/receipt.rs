//! What a CUDA worker was built from and for. It prints that as its version, and `autotune` starts no worker of another
//! revision.

use std::fmt;
use std::str::FromStr;

const PROGRAM: &str = "autotune-cuda-worker";
const CUDA: &str = "CUDA";
const CAPABILITY: &str = "compute capability";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Of the worker's sources.
    pub revision: String,
    /// The toolkit's version, such as `13.0`.
    pub cuda: String,
    /// The oldest compute capability that its kernels run on, such as `8.6`.
    pub capability: String,
}

impl Receipt {
    /// That of this very program.
    #[cfg(feature = "cuda")]
    pub fn own() -> Receipt {
        let capability = super::cuda::built_for();
        Receipt {
            revision: env!("AUTOTUNE_WORKER_REVISION").to_owned(),
            cuda: env!("CUDA_VERSION").to_owned(),
            capability: format!("{}.{}", capability / 10, capability % 10),
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Receipt { revision, cuda, capability } = self;
        write!(out, "{PROGRAM} {revision}, {CUDA} {cuda}, {CAPABILITY} {capability}")
    }
}

impl FromStr for Receipt {
    type Err = String;

    fn from_str(text: &str) -> Result<Receipt, String> {
        let mut parts = text.trim().split(", ");
        let mut part = |name: &str| {
            let value = parts.next()?.strip_prefix(name)?.trim();
            (!value.is_empty() && !value.contains(' ')).then(|| value.to_owned())
        };
        let receipt = part(PROGRAM).zip(part(CUDA)).zip(part(CAPABILITY));
        let ((revision, cuda), capability) =
            receipt.ok_or_else(|| format!("{text:?} is not the version of a CUDA worker"))?;
        Ok(Receipt { revision, cuda, capability })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_prints_is_read_again() {
        let text = "autotune-cuda-worker 0123456789ab, CUDA 13.0, compute capability 8.6";
        let receipt: Receipt = (text.to_owned() + "\n").parse().unwrap();
        assert_eq!((receipt.revision.as_str(), receipt.cuda.as_str()), ("0123456789ab", "13.0"));
        assert_eq!(receipt.to_string(), text);
        for wrong in ["", "autotune 0.1.0", "autotune-cuda-worker, CUDA 13.0", &text[..40]] {
            assert!(wrong.parse::<Receipt>().is_err(), "{wrong:?}");
        }
    }
}
