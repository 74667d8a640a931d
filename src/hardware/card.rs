//! The table of GPUs: `gpus.toml`, whose head says what each figure is.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub name: String,
    pub title: String,
    #[serde(skip_serializing)]
    matches: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram_gib: Option<f64>,
    /// Where the GPU shares the machine's memory: how much of it machines have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_gib: Vec<f64>,
    pub bandwidth_gb_s: f64,
    pub fp32_tflops: f64,
    pub fp16_tflops: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bf16_tflops: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_tops: Option<f64>,
    pub multiprocessors: u32,
    pub clock_mhz: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_mib: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcie_generation: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcie_lanes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
}

#[derive(Deserialize)]
struct Table {
    gpu: Vec<Card>,
}

// A test reads the table, so it can't be wrong in a program that passed its tests.
static CARDS: LazyLock<Vec<Card>> = LazyLock::new(|| {
    toml::from_str::<Table>(include_str!("gpus.toml")).map(|table| table.gpu).unwrap_or_default()
});

pub fn cards() -> &'static [Card] {
    &CARDS
}

/// The card that a driver calls `name`. Models that share a name are told apart by their memory, where it's known.
pub fn of_driver(name: &str, memory: Option<Bytes>) -> Option<&'static Card> {
    let fits = |card: &Card| memory.is_none_or(|memory| card.may_show(memory));
    cards().iter().find(|card| card.is_called(name) && fits(card))
}

/// The cards that a person may mean by `name`, the likeliest first: a card by its name, its title or its driver's name,
/// or all variants of a model by the part of their names that they share.
pub fn meant_by(name: &str) -> Vec<&'static Card> {
    let wanted = plain(name);
    let exact = |card: &&Card| wanted == plain(&card.name) || wanted == plain(&card.title);
    if let Some(card) = cards().iter().find(exact).or_else(|| of_driver(name, None)) {
        return vec![card];
    }
    cards().iter().filter(|card| card.model_names().any(|model| plain(model) == wanted)).collect()
}

impl Card {
    /// The memory that networks may use: all of a card's own, or a share of the least machine that has the chip.
    pub fn memory(&self) -> Bytes {
        let gib = |gib: f64| Bytes((gib * Bytes::GIB as f64) as u64);
        match self.vram_gib {
            Some(vram_gib) => gib(vram_gib),
            None => share_of_unified(gib(self.memory_gib.iter().copied().fold(f64::INFINITY, f64::min))),
        }
    }

    /// NVIDIA's compute capability, major and minor.
    pub fn capability(&self) -> Option<(u32, u32)> {
        let (major, minor) = self.compute_capability.as_deref()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// What the link to the host carries one way at best, in 1e9 bytes a second. Nothing where memory is shared.
    pub fn link_gb_s(&self) -> Option<f64> {
        // From its third generation on, 8e9 bits a second and lane, doubled by each one, 128 of 130 bits being data: PCI
        // Express Base Specification.
        let doublings = self.pcie_generation?.checked_sub(3)?;
        Some(f64::from(self.pcie_lanes? << doublings) * 8.0 * 128.0 / 130.0 / 8.0)
    }

    /// Whether a driver's name of a card has this card's words in a row, and none behind them that make it another
    /// model: an RTX 3090 Ti is no RTX 3090.
    fn is_called(&self, name: &str) -> bool {
        const OTHER_MODELS: [&str; 11] =
            ["ti", "super", "d", "laptop", "max", "mobile", "embedded", "pro", "ultra", "nvl", "mig"];
        let given = words(name);
        self.matches.iter().map(|matches| words(matches)).any(|own| {
            given.windows(own.len()).enumerate().any(|(place, window)| {
                let behind = &given[place + own.len()..];
                window == own && !behind.iter().any(|word| OTHER_MODELS.contains(&word.as_str()))
            })
        })
    }

    /// Whether a driver may state so much memory for it: up to 8% less than is sold were seen (T4 with error correction,
    /// 15109 of 16384 MiB), and other models of a name differ by 15% and more.
    fn may_show(&self, memory: Bytes) -> bool {
        let Some(vram_gib) = self.vram_gib else { return true };
        (0.9..=1.05).contains(&(memory.0 as f64 / Bytes::GIB as f64 / vram_gib))
    }

    /// The names of the models that it's a variant of: `a100` and `a100-pcie` of `a100-pcie-40gb`.
    fn model_names(&self) -> impl Iterator<Item = &str> {
        self.name.match_indices('-').map(|(place, _)| &self.name[..place])
    }
}

/// What a GPU may use of memory that it shares with the processor, before the system slows it down: macOS recommends a
/// limit (`recommendedMaxWorkingSetSize`), which was seen from 2/3 to 78% of the memory, by system and size.
pub fn share_of_unified(memory: Bytes) -> Bytes {
    Bytes(memory.0 / 4 * 3)
}

/// Stretches of letters and digits, in lower case.
fn words(name: &str) -> Vec<String> {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect()
}

/// Lower case, letters and digits only.
pub fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_each_card_is_found_by_its_names() {
        let table: Table = toml::from_str(include_str!("gpus.toml")).unwrap();
        assert!(table.gpu.len() >= 40);
        let mut names: Vec<String> = table.gpu.iter().map(|card| plain(&card.name)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), table.gpu.len());
        for card in &table.gpu {
            assert_eq!(meant_by(&card.name), [card]);
            assert_eq!(meant_by(&card.title), [card]);
            for matches in &card.matches {
                assert_eq!(of_driver(matches, None), Some(card), "{matches}");
            }
            assert_eq!(card.vram_gib.is_some(), card.memory_gib.is_empty(), "{}", card.name);
            assert!(card.memory().0 >= 6 * Bytes::GIB, "{}", card.name);
            assert_eq!(card.pcie_generation.is_some(), card.compute_capability.is_some(), "{}", card.name);
            assert_eq!(card.link_gb_s().is_some(), card.vram_gib.is_some(), "{}", card.name);
            assert_eq!(card.capability().is_some(), card.compute_capability.is_some(), "{}", card.name);
        }
    }

    /// Every figure was typed by hand; those that depend on each other are held together.
    #[test]
    fn the_rates_follow_from_multiprocessors_and_clock() {
        for card in cards() {
            let capability = card.compute_capability.as_deref();
            // Lanes for fp32 of a multiprocessor: CUDA C++ Programming Guide, "Arithmetic Instructions".
            let lanes = if matches!(capability, Some("7.0" | "7.5" | "8.0")) { 64.0 } else { 128.0 };
            let fp32 = f64::from(card.multiprocessors) * lanes * 2.0 * card.clock_mhz * 1e6 / 1e12;
            let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.025;
            assert!(near(card.fp32_tflops, fp32), "{}: {fp32}", card.name);
            // Tensor cores do bf16 as fast as fp16, and from Turing on int8 twice as fast, or four times where sums in
            // fp32 are halved.
            assert!(card.bf16_tflops.is_none_or(|bf16| bf16 == card.fp16_tflops), "{}", card.name);
            let tensor = !matches!(capability, Some("6.1" | "7.0"));
            if let Some(int8) = card.int8_tops.filter(|_| tensor) {
                let times = int8 / card.fp16_tflops;
                assert!(near(times, 2.0) || near(times, 4.0), "{}: {times}", card.name);
            }
        }
    }

    #[test]
    fn a_driver_s_name_tells_one_model_from_another() {
        let name = |driver: &str| of_driver(driver, None).map_or("none", |card| card.name.as_str());
        for (driver, wanted) in [
            ("NVIDIA GeForce GTX 1080 Ti", "gtx1080ti"),
            ("NVIDIA GeForce GTX 1080", "none"),
            ("NVIDIA GeForce RTX 2070 SUPER", "rtx2070super"),
            ("NVIDIA GeForce RTX 2070 Super with Max-Q Design", "none"),
            ("NVIDIA GeForce RTX 3060 Ti", "none"),
            ("NVIDIA GeForce RTX 3080 Laptop GPU", "none"),
            ("NVIDIA GeForce RTX 3090", "rtx3090"),
            ("NVIDIA GeForce RTX 3090 Ti", "none"),
            ("NVIDIA GeForce RTX 4070", "rtx4070"),
            ("NVIDIA GeForce RTX 4070 SUPER", "none"),
            ("NVIDIA GeForce RTX 4070 Ti", "none"),
            ("NVIDIA GeForce RTX 4070 Ti SUPER", "none"),
            ("NVIDIA GeForce RTX 4090", "rtx4090"),
            ("NVIDIA GeForce RTX 4090 D", "none"),
            ("NVIDIA GeForce RTX 5090", "rtx5090"),
            ("Quadro RTX 5000", "rtx5000"),
            ("Quadro RTX 5000 with Max-Q Design", "none"),
            ("NVIDIA RTX 5000 Ada Generation", "rtx5000ada"),
            ("NVIDIA RTX 5000 Ada Generation Laptop GPU", "none"),
            ("NVIDIA RTX PRO 5000 Blackwell", "none"),
            ("NVIDIA RTX A4000", "a4000"),
            ("NVIDIA RTX 4000 Ada Generation", "none"),
            ("NVIDIA RTX A6000", "a6000"),
            ("NVIDIA RTX 6000 Ada Generation", "none"),
            ("NVIDIA RTX A1000", "none"),
            ("Tesla T4", "t4"),
            ("NVIDIA T400", "none"),
            ("Tesla V100-SXM2-16GB", "v100-16gb"),
            ("Tesla V100-SXM2-32GB", "v100-32gb"),
            ("Tesla V100-PCIE-16GB", "v100-pcie-16gb"),
            ("Tesla V100-PCIE-32GB", "v100-pcie-32gb"),
            ("Tesla V100S-PCIE-32GB", "none"),
            ("NVIDIA A10G", "a10g"),
            ("NVIDIA A10", "none"),
            ("NVIDIA L4", "l4"),
            ("NVIDIA L40", "none"),
            ("NVIDIA L40S", "l40s"),
            ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
            ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
            ("A100-SXM-80GB", "a100-80gb"),
            ("NVIDIA A100-PCIE-40GB", "a100-pcie-40gb"),
            ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "none"),
            ("NVIDIA H100 80GB HBM3", "h100-sxm"),
            ("NVIDIA H100 PCIe", "h100-pcie"),
            ("NVIDIA H100 NVL", "none"),
            ("NVIDIA H200", "h200"),
            ("NVIDIA H200 NVL", "none"),
            ("NVIDIA GH200 480GB", "none"),
            ("Apple M1", "m1"),
            ("Apple M2 Max", "m2max"),
            ("Apple M3 Ultra", "m3ultra"),
            ("Apple M4 Pro", "m4pro"),
            ("Apple M9", "none"),
            ("", "none"),
            ("-", "none"),
        ] {
            assert_eq!(name(driver), wanted, "{driver:?}");
        }
    }

    #[test]
    fn memory_tells_models_of_one_name_apart() {
        let name = |driver: &str, mib: u64| {
            of_driver(driver, Some(Bytes(mib * Bytes::MIB))).map_or("none", |card| card.name.as_str())
        };
        // As NVML tells them.
        for (driver, mib, wanted) in [
            ("NVIDIA GeForce RTX 3060", 12288, "rtx3060"),
            ("NVIDIA GeForce RTX 3060", 8192, "none"),
            ("NVIDIA GeForce RTX 3080", 10240, "rtx3080"),
            ("NVIDIA GeForce RTX 3080", 12288, "none"),
            ("NVIDIA GeForce RTX 4090", 49140, "none"),
            ("NVIDIA GeForce GTX 1080 Ti", 11172, "gtx1080ti"),
            ("Tesla T4", 15109, "t4"),
            ("NVIDIA A10G", 22731, "a10g"),
            ("NVIDIA L40S", 46068, "l40s"),
            ("NVIDIA A100-SXM4-40GB", 40536, "a100-40gb"),
            ("NVIDIA A100-SXM4-80GB", 81251, "a100-80gb"),
            ("NVIDIA H100 80GB HBM3", 81559, "h100-sxm"),
            ("NVIDIA H200", 143_771, "h200"),
        ] {
            assert_eq!(name(driver, mib), wanted, "{driver} with {mib} MiB");
        }
    }

    #[test]
    fn a_person_names_a_card_or_a_model_of_several_cards() {
        let names = |wanted: &str| meant_by(wanted).iter().map(|card| card.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names("A100"), ["a100-40gb", "a100-80gb", "a100-pcie-40gb", "a100-pcie-80gb"]);
        assert_eq!(names("a100 pcie"), ["a100-pcie-40gb", "a100-pcie-80gb"]);
        assert_eq!(names("A100 80GB"), ["a100-80gb"]);
        assert_eq!(names("v100")[0], "v100-16gb");
        assert_eq!(names("h100"), ["h100-sxm", "h100-pcie"]);
        assert_eq!(names("RTX 5000"), ["rtx5000"]);
        assert_eq!(names("RTX 5000 Ada"), ["rtx5000ada"]);
        assert_eq!(names("Apple M2 Max"), ["m2max"]);
        assert_eq!(names("m2 max"), ["m2max"]);
        assert_eq!(names("GeForce RTX 4090"), ["rtx4090"]);
        for nothing in ["", "-", "a10", "rtx", "rtx9999"] {
            assert_eq!(names(nothing), Vec::<&str>::new(), "{nothing:?}");
        }
    }

    #[test]
    fn the_link_is_what_its_generation_carries() {
        let link = |name: &str| meant_by(name)[0].link_gb_s().unwrap();
        // 15.75, 31.5 and 63 GB/s for 16 lanes, as every table of PCI Express has it.
        assert!((link("t4") - 15.75).abs() < 0.01 && (link("rtx4090") - 31.5).abs() < 0.02);
        assert!((link("h200") - 63.0).abs() < 0.05);
        assert_eq!(meant_by("m2max")[0].link_gb_s(), None);
        assert_eq!(meant_by("m2max")[0].memory(), Bytes(24 * Bytes::GIB));
    }
}
