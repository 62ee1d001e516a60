"""ファイルの読み書き: 読めないもの、リンク、満杯のディスク、途中で止まったとき。"""

import os
import shutil
import subprocess

import pytest
from conftest import DEMO, read, step, step_error

from quiz.files import read_records, write_json


def state(work):
    return {p.relative_to(work): p.read_bytes() if p.is_file() else None for p in work.rglob("*")}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """小さな問題のファイルと、手順1の結果。"""
    work = tmp_path_factory.mktemp("good")
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]
    (work / "source.json").write_text("\n".join(lines), encoding="utf-8")
    step("convert_train", "source.json", cwd=work)
    return work


@pytest.mark.parametrize(
    "text, records",
    [
        ('{"a": 1}\n{"a": 2}', [(1, 1), (2, 2)]),
        ('[{"a": 1},\n\n {"a": 2},]', [(1, 1), (3, 2)]),
        ('\ufeff{"a": 1}\n\ufeff{"a": 2}\r\n', [(1, 1), (2, 2)]),
        ('{\n"a":\n1}\n{"a": 2}', [(1, 1), (4, 2)]),
    ],
)
def test_records_and_their_lines(text, records, tmp_path):
    """1 行に 1 件でも、配列でも、BOM があっても、何行かの 1 件でも、始まる行が分かる。"""
    path = tmp_path / "x.json"
    path.write_bytes(text.encode())
    assert [(line, record["a"]) for line, record in read_records(path, "")] == records


def test_old_file_is_kept_when_writing_fails(tmp_path):
    """書けない値があれば、前のファイルがそのまま残り、書きかけは残らない。"""
    path = tmp_path / "x.json"
    write_json(path, [1])
    with pytest.raises(TypeError):
        write_json(path, [object()])
    assert read(path) == [1] and list(tmp_path.iterdir()) == [path]


def test_links_are_followed(good, tmp_path):
    """出力がシンボリックリンクなら、リンクの先を書き、リンクは残る。"""
    (tmp_path / "real.json").symlink_to(tmp_path / "kept.json")
    step("convert_train", good / "source.json", "-o", "real.json", cwd=tmp_path)
    step("convert_train", good / "source.json", "-o", "real.json", cwd=tmp_path)
    assert (tmp_path / "real.json").is_symlink() and len(read(tmp_path / "kept.json")) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="tmpfs を作れるのは root だけ")
def test_full_disk_and_read_only(good, tmp_path):
    """ディスクが満杯でも、書き込めなくても 1 行で、前のファイルは残り、書きかけは残らない。"""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("mount できない")
    try:
        shutil.copy(good / "train-5-inst.json", disk)
        (disk / "filler").write_bytes(b"x" * (56 * 1024))
        before = state(disk)
        target = disk / "train-5-inst.json"
        assert "空き容量がありません" in step_error(
            "convert_train", DEMO / "train_questions.json", "-o", target, cwd=tmp_path
        )
        assert state(disk) == before
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert "書き込めない場所です" in step_error(
            "convert_train", DEMO / "train_questions.json", "-o", target, cwd=tmp_path
        )
        assert state(disk) == before
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    "text", ['[{"a": 1,\n"a": 2}]', '{"a": 1, "b": {"c": 1, "c": 2}}', '{"a": 1}\n{"b": 1, "b": 1}']
)
def test_name_that_is_twice_in_one_record(text, tmp_path):
    """1 件の中の同じ名前は、},{ の書き忘れかもしれない。黙って後の方を使わない。"""
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match="が 2 度あります"):
        list(read_records(path, ""))
