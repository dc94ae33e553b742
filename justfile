# The commands a developer types. Each is one line, so it also works without `just`.

# Everything that must hold before a commit.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# A short seeded simulation.
sim seeds="50":
    cargo run --release -p hive-sim -- --seeds {{seeds}}

# One seed again, with its trace.
replay story seed:
    cargo run --release -p hive-sim -- --story {{story}} --seed {{seed}}

# One fuzz target by coverage; new inputs go to fuzz/grown.
fuzz target seconds="60":
    mkdir -p fuzz/grown/{{target}}
    cargo +nightly fuzz run {{target}} fuzz/grown/{{target}} fuzz/corpus/{{target}} -- -max_total_time={{seconds}}

# The story of the README, on this machine.
demo:
    cargo run --release -- demo

# The figures of the README.
figures:
    cargo build --release --workspace
    cargo run --release -- demo --json
    cargo run --release -p hive-lab -- main-job --json
    cargo run --release -p hive-lab -- lan --nodes 5 --json
    cargo run --release -p hive-lab -- offstage --json
    cargo run --release -p hive-lab -- lan --nodes 20 --json
    cargo run --release -p hive-lab -- faults --json
    cargo run --release -p hive-lab -- undo --json
    cargo build --release --manifest-path bench-peers/Cargo.toml
    cargo run --release -p hive-lab -- store --json
    cargo run --release -p hive-lab -- bytes --nodes 5 --json
    cargo run --release -p hive-lab -- bytes --nodes 20 --json
    cargo run --release -p hive-sim -- --full --seeds 200 --json
