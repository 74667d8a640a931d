//! `autotune replay`, as a person uses it.

use serde_json::Value as Json;

use crate::support::{autotune, text};

/// Sixty configurations: a peak at batch 32, and one engine that runs out of memory at large batches.
fn grid() -> String {
    let mut text = String::from("engine,batch,order,docs_per_second,samples,error\n");
    for engine in ["a", "b", "c"] {
        for step in 0..10u32 {
            for order in ["arrival", "length"] {
                let speed =
                    100.0 / (1.0 + 0.3 * f64::from(step.abs_diff(5))) * if engine == "b" { 1.5 } else { 1.0 };
                let speed = if order == "length" { speed * 1.2 } else { speed };
                let cells = match engine == "c" && step > 6 {
                    true => ",,out of memory".to_owned(),
                    false => format!("{speed},{};{speed};{},", speed * 0.99, speed * 1.01),
                };
                text.push_str(&format!("{engine},{},{order},{cells}\n", 1 << step));
            }
        }
    }
    text
}

#[test]
fn searches_play_on_a_grid_and_the_guided_one_is_soon_near_the_best() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("own.csv"), grid()).unwrap();
    let arguments = ["replay", "own.csv", "--seeds", "6", "--trials", "40", "--json", "--out", "plots"];
    let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    let own = &document[0];
    assert_eq!(
        (own["difficulty"]["configurations"].as_u64(), own["difficulty"]["failed"].as_u64()),
        (Some(60), Some(6))
    );
    let near = |search: &str| {
        let searches = own["searches"].as_array().unwrap().iter();
        let score = searches.clone().find(|score| score["search"] == search).unwrap();
        score["near"][0]["trials_median"].as_f64()
    };
    assert!(near("guided").unwrap() <= 20.0, "{own:#}");
    assert!(near("climb").is_some());
    for plot in ["plots/own-regret.svg", "plots/own-regret.png"] {
        assert!(place.path().join(plot).metadata().unwrap().len() > 1000, "{plot}");
    }
    // With itself as prior the best is the first to be tried.
    let arguments = [
        "replay",
        "own.csv",
        "--prior",
        "own.csv",
        "--seeds",
        "3",
        "--trials",
        "5",
        "--search",
        "guided,order",
    ];
    let said = text(&autotune(&arguments).current_dir(place.path()).output().unwrap());
    assert!(said.contains("with own as prior") && said.contains("guided   1, 1"), "{said}");
}

#[test]
fn what_cannot_be_played_is_bad_usage_with_its_reason() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("own.csv"), grid()).unwrap();
    std::fs::write(place.path().join("other.csv"), "engine,depth,docs_per_second\na,1,5\n").unwrap();
    std::fs::write(place.path().join("broken.csv"), "batch,docs_per_second\n1,fast\n").unwrap();
    for (arguments, why) in [
        (vec!["replay", "nowhere.csv"], "nowhere.csv"),
        (vec!["replay", "own.csv", "--prior", "other.csv"], "the grids have different knobs"),
        (vec!["replay", "broken.csv"], "line 2: docs_per_second: \"fast\" is not a positive number"),
        (vec!["replay", "own.csv", "--objective", "docs"], "no column \"docs\""),
        (vec!["replay", "own.csv", "--adversary", "inverted"], "--prior"),
    ] {
        let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(why), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn a_folder_of_grids_is_played_whole_and_one_that_is_not_there_is_skipped() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("grids")).unwrap();
    for name in ["b.csv", "a.CSV"] {
        std::fs::write(place.path().join("grids").join(name), grid()).unwrap();
    }
    std::fs::write(place.path().join("grids/read.me"), "no grid").unwrap();
    let play = |folder: &str| {
        let arguments =
            ["replay", "--grids", folder, "--seeds", "2", "--trials", "5", "--json", "--search", "random"];
        autotune(&arguments).current_dir(place.path()).output().unwrap()
    };
    let document: Json = serde_json::from_slice(&play("grids").stdout).unwrap();
    let names: Vec<&str> =
        document.as_array().unwrap().iter().map(|one| one["grid"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    let output = play("nowhere");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"[]\n".as_slice()));
    assert!(text(&output).contains("skipped: --grids nowhere: "), "{}", text(&output));
}
