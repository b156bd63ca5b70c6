//! Predicted beside measured, by the command that the README names.

use std::process::Command;

fn runner(words: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

#[test]
fn the_measured_grid_of_a_16_gb_card_is_predicted_within_a_tenth() {
    let words = [
        "predict",
        "experiments/day003.toml",
        "--only",
        "chat-*",
        "--against",
        "tests/data/rtx2000_chat_grid.csv",
    ];
    let (table, said, code) = runner(&words);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not measured"), "{said}");
    let errors: Vec<f64> = table
        .lines()
        .filter(|line| line.starts_with("chat-"))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[4].parse::<f64>().unwrap()
        })
        .collect();
    assert_eq!(errors.len(), 12, "{table}");
    let mut absolute: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    absolute.sort_by(f64::total_cmp);
    let median = f64::midpoint(absolute[5], absolute[6]);
    assert!(median <= 10.0, "{median} % in the median:\n{table}");
    assert!(
        table.contains("median absolute error of p50 E2E over 12 cells"),
        "{table}"
    );
}

#[test]
fn every_cell_is_predicted_and_says_so() {
    let (out, said, code) = runner(&[
        "predict",
        "experiments/day003.toml",
        "--gpu",
        "H100",
        "--json",
    ]);
    assert_eq!(code, Some(0), "{said}");
    let cells: serde_json::Value = serde_json::from_str(&out).unwrap();
    let cells = cells.as_array().unwrap();
    assert_eq!(cells.len(), 18);
    for cell in cells {
        assert_eq!(cell["predicted"], true);
        assert!(
            cell["prediction"]["summary"]["e2e"]["p50_ms"]
                .as_f64()
                .unwrap()
                > 0.0,
            "{cell}"
        );
    }
}

#[test]
fn an_unknown_gpu_and_a_server_that_cannot_start_are_said() {
    let (_, said, code) = runner(&["predict", "experiments/day003.toml", "--gpu", "H1000"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("H1000") && said.contains("RTX 2000 Ada"),
        "{said}"
    );
    let words = [
        "predict",
        "experiments/day003.toml",
        "--set",
        "server.model=\"Qwen/Qwen2.5-14B-Instruct\"",
    ];
    let (table, said, code) = runner(&words);
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("out of memory"), "{table}");
}
