"""手順3の画面: 間違いも進み具合も、日本語の短い行で。"""

import shutil

from conftest import CONFIG, run


def test_screen_of_the_demo(demo):
    """手順3で画面に出るのは 30 行まで。今の Axolotl が廃止や改名を知らせる設定は使っていない。"""
    log = (demo / "demo-qlora-out/debug.log").read_text(encoding="utf-8")
    assert "Starting trainer" in log and "deprecated" not in log.lower()
    out, err = ((demo / name).read_bytes().decode() for name in ("stdout.txt", "stderr.txt"))
    shown = out[out.index("手順3") : out.index("手順4 (学習後)")]
    assert shown.count("\n") + err.count("\n") <= 30, shown + err
    assert (
        "学習しました: 895 問" in shown and f"次は: python run_quiz.py --config {CONFIG}" in shown
    )


def test_mistake_is_told_before_training(llama_run, tmp_path):
    """学習のコマンドそのものが、日本語の 1 行で間違いを言う。

    そのあとは accelerate の traceback だけで、何も作らない。
    """
    for name in ("train-5-inst.json", "qlora-opencalm.yml"):
        shutil.copy(llama_run / name, tmp_path)
    files = sorted(tmp_path.iterdir())
    error = run(
        "accelerate",
        "launch",
        "-m",
        "axolotl.cli.train",
        "qlora-opencalm.yml",
        "--num_epoch",
        "1",
        "--output_dir",
        "new",
        cwd=tmp_path,
        status=1,
    ).stderr
    line, _, rest = error.partition("エラー: ")[2].partition("\n")
    assert (
        line
        == "--num_epoch: 'num_epoch' という設定はありません。num_epochs の間違いではありませんか。"
    )
    assert (
        rest.startswith("Traceback")
        and rest.count("Traceback") == 1
        and "CalledProcessError" in rest
    )
    assert sorted(tmp_path.iterdir()) == files
