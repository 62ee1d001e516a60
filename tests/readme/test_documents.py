"""文書: 長さ、リンク、コマンドとオプション、ファイルの名前、見せている出力が、本当のものか。"""

import importlib.util
import re
import shlex
import sys
import unicodedata
from functools import cache

import pytest
from accelerate.commands.launch import launch_command_parser
from axolotl.utils.schemas.config import AxolotlInputConfig
from conftest import ROOT, blocks, run, step

README = ROOT / "README.md"
DOCUMENTS = [
    README,
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "data/README.md",
    ROOT / "data/demo/README.md",
]
LONGEST = 150  # 行
WIDEST = 210  # 桁。全角の文字は 2 桁

STEPS = "convert_train.py", "convert_eval.py", "run_quiz.py", "analysis.py"
# axolotl.cli.train に付けられるのは、YAML の設定の名前
TRAINING = {f"--{name}" for name in AxolotlInputConfig.model_fields}


def text_of(document):
    return document.read_text(encoding="utf-8")


def name_of(document):
    return str(document.relative_to(ROOT))


def width(line):
    """画面での桁の数。"""
    wide = sum(unicodedata.east_asian_width(letter) in "FWA" for letter in line)
    return len(line) + wide


def spans(document):
    """document の `…` の中身。コードブロックの中は含まない。"""
    prose = re.split(r"^```", text_of(document), flags=re.M)[::2]
    return re.findall(r"`([^`\n]+)`", "".join(prose))


def anchors(document):
    """document の見出しに付く、リンクの名前。"""
    headings = re.findall(r"^#+ (.*)", text_of(document), re.M)
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


# --- 長さ ---


def test_readme_is_short():
    assert len(text_of(README).splitlines()) <= LONGEST


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_wall(document):
    """どの行も、横に長すぎない。"""
    wide = [line for line in text_of(document).splitlines() if width(line) > WIDEST]
    assert not wide


# --- リンク ---


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links(document):
    """リンクの先のファイルと、その中の見出しがある。"""
    for target in re.findall(r"\]\(([^)]+)\)", text_of(document)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


# --- コマンド ---


@cache
def help_of(script):
    """script (パスか、-m のモジュール) の -h の出力。"""
    if script == "pytest":
        return run("pytest", "-h", cwd=ROOT).stdout
    module = script.removesuffix(".py").removeprefix("data/demo/").replace("/", ".")
    return step(module, "-h", cwd=ROOT).stdout


def options_of(script):
    """script が知っているオプション。"""
    if script in ("axolotl.cli.train", "data/demo/run.sh"):  # run.sh の引数は手順3に渡る
        return TRAINING
    if script == "accelerate launch":  # -h は、場合によって一部を隠す
        return set(launch_command_parser()._option_string_actions)
    if script == "tests/run.sh":  # 引数は pytest に渡る
        script = "pytest"
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of(script)))


def check_options(script, words):
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    unknown = used - options_of(script) if used else set()
    assert not unknown, (script, unknown)


def check_command(line):
    """line が呼ぶもの (python、bash、accelerate launch) とオプションが、あることを確かめる。

    確かめたら True、ほかのコマンドなら False。
    """
    words = shlex.split(line, comments=True)
    # 環境変数 (A=b) は飛ばす
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    if words[:2] == ["accelerate", "launch"]:
        # launch のオプションは、実行するもの (-m モジュール か スクリプト) より前にある
        starts = [i for i, word in enumerate(words) if word == "-m" or word.endswith(".py")]
        check_options("accelerate launch", words[2 : starts[0]])
        words = ["python", *words[starts[0] :]]
    if len(words) < 2 or not re.fullmatch(r"python|bash", words[0]):
        return False
    if words[1] == "-m":
        script, rest = words[2], words[3:]
        assert importlib.util.find_spec(script), line
    elif re.search(r"\.(py|sh)$", words[1]):
        script, rest = words[1], words[2:]
        assert (ROOT / script).is_file(), line
    else:
        return False
    check_options(script, rest)
    return True


def commands(document):
    """document のコードブロックと `…` にある、コマンドの行。"""
    lines = blocks(document, "bash") + blocks(document, "") + spans(document)
    commands = [line for line in lines if re.match(r"(\w+=\S* )*(python|bash|accelerate) ", line)]
    # 「-m ...」のように省略したものは、打つためのものではない
    return [line for line in commands if "..." not in line]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_exist(document):
    """文書にあるコマンドの、スクリプト、モジュール、オプションがある。"""
    checked = [check_command(line) for line in commands(document)]
    # コマンドのない文書もあるが、README にはたくさんある
    assert document != README or sum(checked) >= 20


def test_check_command_can_fail():
    """ないスクリプト、モジュール、オプションに気付く。"""
    for wrong in (
        "python run_quizz.py",
        "python run_quiz.py --batch 3",
        "python -m quiz.check q.yml",
        "accelerate launch --processes 2 run_quiz.py",
        "accelerate launch -m axolotl.cli.train q.yml --micro_batch 4",
    ):
        with pytest.raises(AssertionError):
            check_command(wrong)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_options_exist(document):
    """`--…` とだけ書いたオプションは、どれかのコマンドのもの。"""
    known = TRAINING.union(*map(options_of, (*STEPS, "accelerate launch")))
    for span in spans(document):
        words = shlex.split(span) if span.startswith("--") else []
        used = {word for word in words if word.startswith("--")}
        assert used <= known, span


# --- ファイルの名前 ---


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_exist(document):
    """`quiz/…py` や `test_…py` と書いたファイルがある。"""
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for span in spans(document):
        if re.fullmatch(r"test_\w+\.py", span):
            assert span in tests, span
        if re.fullmatch(r"(quiz|tests|docs)/[\w/]+(\.\w+)?", span):
            assert (ROOT / span).exists(), span


# --- 見せている出力 ---


def masked(text):
    """数字を N にした行。数字は、計算機や日によって違う。"""
    return re.sub(r"\d[\d,.:]*", "N", text)


def shown_lines(document):
    """document の、出力のコードブロックの行。"""
    lines = [line for line in blocks(document, "") if line.strip()]
    # 事実の表と、先生が打つコマンドの例は、出力ではない
    return [line for line in lines if not re.match(r"python |bash |sed |\w+=|capital\t", line)]


@pytest.mark.parametrize("document", (README, ROOT / "data/demo/README.md"), ids=name_of)
def test_shown_output_is_real(demo, document):
    """見せている出力は、data/demo/run.sh の出力の行 (数字のほかは)。"""
    printed = masked((demo / "stdout.txt").read_text() + (demo / "stderr.txt").read_text())
    lines = shown_lines(document)
    assert len(lines) >= 12
    for line in lines:
        # 1 分かからない計算機では出ない行と、断り書きは除く
        if line.startswith(("この速さなら", "(")):
            continue
        # 進み具合の棒は、速さから後だけを比べる
        if "%|" in line:
            line = line.partition(",  ")[2]
        assert masked(line) in printed, line


def test_tables_of_the_real_model():
    """docs/real.md の表は、docs/real に置いた結果から、書いてあるコマンドで作り直せる。"""
    text = text_of(ROOT / "docs/real.md")
    made = set()
    for options in re.findall(r"`python analysis\.py ([^`]*docs/real[^`]*)`", text):
        made.update(step("analysis", *shlex.split(options), cwd=ROOT).stdout.splitlines())
    curves = [sys.executable, ROOT / "docs/real/curves.py", *ROOT.glob("docs/real/training/*")]
    made.update(run(*curves, cwd=ROOT).stdout.splitlines())
    # 区間のある行は結果の表の、矢印のある行は学習の表の行
    number = r"\d\.\d{3}"
    rows = {r for r in text.splitlines() if re.search(rf"^\| .*{number}(-| → ){number}", r)}
    assert len(rows) > 10
    assert rows <= made
