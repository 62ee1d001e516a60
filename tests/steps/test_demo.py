"""デモ: 問題の正しさ、モデルの素性、学習の効果。"""

import json
import re
import shutil
import unicodedata
from collections import Counter, defaultdict

import pytest
from conftest import DEMO, read, run
from safetensors import safe_open
from tokenizers import Tokenizer

GENRES = {"芸能", "学問", "雑学", "アニメ", "スポーツ"}
WORK = {
    "manga_author": 1,
    "character_title": 2,
    "anime_film_director": 1,
    "title_hero": 1,
    "group_title": 2,
}  # 作品の名前のある列
ALIASES = (
    "ワンピース",
    "ナルト",
    "ブリーチ",
    "スラムダンク",
    "デスノート",
    "ハンターハンター",
    "スパイファミリー",
    "ハイキュー",
)
LEAST = {"train": (600, 80), "dev1": (100, 25), "dev2": (100, 25)}  # 全体と、分野ごとの最小の問題数


def rows_of(folder):
    return {
        s: [
            json.loads(line)
            for line in (folder / f"{s}_questions.json").read_text(encoding="utf-8").splitlines()
        ]
        for s in LEAST
    }


def facts_of(folder):
    """表の事実を (関係, 鍵, 答え, ヒント) で返す。ここでは make_questions.py を使わず、
    表を直接読む。"""
    return [
        tuple(line.split("\t"))
        for table in sorted((folder / "facts").glob("*.tsv"))
        for line in table.read_text(encoding="utf-8").splitlines()[1:]
    ]


def check_questions(folder):
    """分野の問題数、候補、重複、dev の事実が train に漏れていないことを確かめる。"""
    splits, facts = rows_of(folder), facts_of(folder)
    for split, rows in splits.items():
        total, each = LEAST[split]
        genres = Counter(r["genre"] for r in rows)
        assert len(rows) >= total and set(genres) == GENRES and min(genres.values()) >= each
        for r in rows:
            assert len(r["answer_candidates"]) == len(set(r["answer_candidates"])) == 20
            assert (
                r["answer_entity"] in r["answer_candidates"]
                and r["answer_entity"] not in r["question"]
            )
    everything = [(split, r) for split, rows in splits.items() for r in rows]
    for key in ("qid", "question"):
        assert max(Counter(r[key] for _, r in everything).values()) == 1
    # 問題 (qid の関係、答え、問題文に含まれる鍵) から表の事実を引き直し、1 つの事実が 1
    # 問にだけ使われていることを見る。
    used = defaultdict(set)
    for split, r in everything:
        relation = r["qid"].rpartition("-")[0]
        mine = [
            f
            for f in facts
            if f[0] == relation and f[2] == r["answer_entity"] and f[1] in r["question"]
        ]
        assert mine, r
        used[frozenset(max(mine, key=lambda f: len(f[1]))[1:3])].add(split)
    assert len(used) == len(everything) and all(len(s) == 1 for s in used.values())


def words(text):
    """漢字の続き、カタカナの続き、英字の続き。"""
    return re.findall(r"[一-龠々〆ヶ]+|[ァ-ヺー]{2,}|[A-Za-z]{2,}", text)


def check_wording(folder):
    """問い方、ヒントの使い方、同じ語の繰り返し、作品の名前の書き方を確かめる。"""
    facts, hinted, rows = (
        facts_of(folder),
        0,
        [r for rows in rows_of(folder).values() for r in rows],
    )
    for r in rows:
        q, relation = r["question"], r["qid"].rpartition("-")[0]
        assert q.endswith("でしょう?") and q.count("でしょう") == 1, q
        assert "『" in q or relation not in ("role_actor", "foreign_role_actor"), q
        mine = [
            f[3]
            for f in facts
            if f[0] == relation and f[2] == r["answer_entity"] and f[1] in q and f[3] in q
        ]
        hint = max(mine, key=len, default="")
        hinted += bool(hint)
        assert max(Counter(word for word in words(q) if len(word) > 1).values(), default=1) == 1, q
        assert not hint or not set(words(hint)) & set(words(q.replace(hint, " ", 1))), q
    assert hinted >= len(rows) * 2 / 3
    spellings = defaultdict(set)
    for fact in facts:
        if fact[0] in WORK:
            name = fact[WORK[fact[0]]]
            spellings[re.sub(r"\W", "", unicodedata.normalize("NFKC", name).lower())].add(name)
    assert all(len(names) == 1 for names in spellings.values()), spellings
    assert not [f for f in facts for alias in ALIASES if f[0] in WORK and f[WORK[f[0]]] == alias]


def test_questions():
    check_questions(DEMO)
    check_wording(DEMO)


def test_questions_are_built_from_the_tables(tmp_path):
    """置いてある問題は、表から作り直したものと同じ。"""
    run("python", DEMO / "make_questions.py", "-o", tmp_path, cwd=tmp_path)
    for split in LEAST:
        assert (tmp_path / f"{split}_questions.json").read_bytes() == (
            DEMO / f"{split}_questions.json"
        ).read_bytes()


def leak(splits):
    splits["train"][0] = {
        **splits["dev1"][0],
        "qid": splits["train"][0]["qid"],
        "genre": splits["train"][0]["genre"],
        "question": splits["dev1"][0]["question"] + "?",
    }


def lose_answer(splits):
    splits["dev2"][3]["answer_candidates"][
        splits["dev2"][3]["answer_candidates"].index(splits["dev2"][3]["answer_entity"])
    ] = "ほかの何か"


def repeat(splits):
    splits["train"][5]["question"] = splits["train"][6]["question"]


def lose_genre(splits):
    splits["dev1"][:] = [r for r in splits["dev1"] if r["genre"] != "雑学"] + [
        r for r in splits["dev1"] if r["genre"] == "雑学"
    ][:24]


def say_twice(splits):
    row = next(r for r in splits["train"] if r["qid"].startswith("manga_author"))
    row["question"] = row["question"].replace("「", words(row["question"])[0] + "の「", 1)


def ask_bluntly(splits):
    splits["dev1"][0]["question"] = splits["dev1"][0]["question"].replace("でしょう?", "?")


def drop_hints(splits):
    for rows in splits.values():
        for r in rows[::2]:
            r["question"] = f"「{r['question'][-40:]}"


def forget_the_work(splits):
    row = next(r for r in splits["dev2"] if r["qid"].startswith("role_actor"))
    row["question"] = row["question"].replace("『", "").replace("』", "")


@pytest.mark.parametrize(
    "spoil",
    [leak, lose_answer, repeat, lose_genre, say_twice, ask_bluntly, drop_hints, forget_the_work],
)
def test_checks_can_fail(tmp_path, spoil):
    """上の検査は、漏れ、正解のない候補、同じ問題文、分野の不足を、それぞれ見つける。"""
    shutil.copytree(DEMO / "facts", tmp_path / "facts")
    splits = rows_of(DEMO)
    spoil(splits)
    for split, rows in splits.items():
        (tmp_path / f"{split}_questions.json").write_text(
            "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8"
        )
    with pytest.raises(AssertionError):
        check_questions(tmp_path)
        check_wording(tmp_path)


def test_two_spellings_are_found(tmp_path):
    """作品の名前の書き方が関係ごとに違えば見つける。"""
    shutil.copytree(DEMO, tmp_path / "demo", ignore=shutil.ignore_patterns("out", "model"))
    table = tmp_path / "demo/facts/anime.tsv"
    for old, new in (
        ("\tSLAM DUNK\t井上", "\tSlam Dunk\t井上"),
        ("\tSLAM DUNK\t井上", "\tスラムダンク\t井上"),
    ):
        table.write_text(
            (DEMO / "facts/anime.tsv").read_text(encoding="utf-8").replace(old, new),
            encoding="utf-8",
        )
        run(
            "python",
            DEMO / "make_questions.py",
            "--facts",
            table.parent,
            "-o",
            tmp_path / "demo",
            cwd=tmp_path,
        )
        with pytest.raises(AssertionError):
            check_wording(tmp_path / "demo")


FACT = "japanese_book_author\tたけくらべ\t樋口一葉\t"
MISTAKES = {  # 表か言い回しへの書き足し方と、エラーが言うこと
    "reversed": (
        "tsv",
        r"\Z",
        "japanese_book_author\t樋口一葉\tたけくらべ\t\n",
        "academics.tsv:2 にあります",
    ),
    "two answers": (
        "tsv",
        r"\Z",
        "japanese_book_author\tたけくらべ\t森鴎外\t\n",
        "academics.tsv:2 にあります",
    ),
    "three columns": ("tsv", FACT, FACT[:-1], "academics.tsv:2: 列が 3 つ"),
    "blank line": ("tsv", FACT, "\n" + FACT, "academics.tsv:2: 列が 1 つ"),
    "space in answer": ("tsv", FACT, FACT.replace("一葉", "一葉 "), "academics.tsv:2: "),
    "empty key": ("tsv", FACT, FACT.replace("たけくらべ", ""), "academics.tsv:2: "),
    "brace": ("tsv", FACT, FACT + "{", "academics.tsv:2: "),
    "answer in hint": ("tsv", FACT, FACT + "樋口一葉の", "academics.tsv:2: "),
    "unknown relation": ("tsv", FACT, FACT[1:], "関係 apanese_book_author が academics.toml に"),
    "no heading": ("tsv", "relation.*\n", "", "academics.tsv:1: 見出し"),
    "few": ("tsv", "(japanese_book_author\t.*\n){30}", "", "違う答えが"),
    "toml": ("toml", "noun = ", "noun ", "academics.toml:4: TOML"),
    "no noun": ("toml", "noun = .*\n", "", "[japanese_book_author] に noun"),
    "misspelt key": ("toml", "{key}", "{kye}", "academics.toml:6: "),
    "no answer": ("toml", "{answer}", "答え", "statements"),
    "one template": ("toml", "questions = ", "questions = '{key}'\nold = ", "questions に"),
    "no genre": ("toml", "genre = ", "gerne = ", "genre"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_in_the_tables(name, tmp_path):
    """表と言い回しの間違いは、どのファイルの何行目かを言う 1 行で終わり、何も書かない。"""
    kind, old, new, said = MISTAKES[name]
    shutil.copytree(DEMO / "facts", tmp_path / "facts")
    table = tmp_path / f"facts/academics.{kind}"
    table.write_text(re.sub(old, new, table.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    refuse_tables(tmp_path, said)


def refuse_tables(work, said, *options):
    error = run(
        "python",
        DEMO / "make_questions.py",
        *(options or ("--facts", "facts", "-o", work)),
        cwd=work,
        status=1,
    ).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1 and said in error, error
    assert not list(work.glob("*.json"))


def test_mistake_in_the_folders(tmp_path):
    """表のないフォルダ、CP932 の表、ない書き先でも、置いてある問題は変わらない。make_model.py は、
    モデルでないフォルダを消さない。"""
    refuse_tables(tmp_path, "表 (*.tsv) がありません", "--facts", "none")
    refuse_tables(tmp_path, "書けません", "-o", "none/none")
    facts = shutil.copytree(DEMO / "facts", tmp_path / "facts")
    error = run(
        "python", DEMO / "make_model.py", "--tokens", "0.001", "-o", "facts", cwd=tmp_path, status=1
    ).stderr
    assert (
        "エラー: facts は、モデルのフォルダではありません" in error
        and (facts / "anime.tsv").exists()
    )
    (facts / "anime.tsv").write_bytes(
        (facts / "anime.tsv").read_text(encoding="utf-8").encode("cp932", errors="replace")
    )
    refuse_tables(tmp_path, "CP932")


def test_model_has_the_traits_of_open_calm():
    """GPT-NeoX、byte-level BPE、NFKC、open-calm と同じ特別なトークン。重みは safetensors だけで 8
    MB 以内。"""
    model = DEMO / "model"
    assert {p.suffix for p in model.iterdir()} <= {".json", ".safetensors"}
    assert (model / "model.safetensors").stat().st_size <= 8 * 2**20
    assert read(model / "config.json")["architectures"] == ["GPTNeoXForCausalLM"]
    settings = read(model / "tokenizer_config.json")
    assert (
        settings["tokenizer_class"] == "GPTNeoXTokenizer"
        and settings["eos_token"] == "<|endoftext|>"
    )
    assert settings["pad_token"] == "<|padding|>"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    assert tokenizer.encode("ペンですか？１:").ids == tokenizer.encode("ペンですか?1:").ids
    with safe_open(model / "model.safetensors", "pt") as f:
        assert f.get_slice("gpt_neox.embed_in.weight").get_shape()[0] == tokenizer.get_vocab_size()


def accuracy(demo, name):
    """(生成の正解率, 読み取れない割合)"""
    records = read(demo / name)[:-1]
    return sum(r["hit"] for r in records) / len(records), sum(
        not r["out_str"] for r in records
    ) / len(records)


@pytest.mark.parametrize("split", ["", "-dev2"])
def test_training_is_seen_to_work(demo, split):
    """学習前は書式を知らないので当てずっぽう以下。学習後は、学習で問われなかった事実の 8
    割以上に答える。"""
    before, _ = accuracy(demo, f"result-base{split}.json")
    after, unparsed = accuracy(demo, f"result{split}.json")
    assert before <= 0.25 and after >= 0.80 and unparsed <= 0.02


def test_demo_shows_before_and_after(demo):
    out = (demo / "stdout.txt").read_text(encoding="utf-8")
    for name in ("result-base.json", "result.json", "result-base-dev2.json", "result-dev2.json"):
        assert f"{name:<60} : " in out, name
    assert all(f"    {genre}: " in out for genre in GENRES) and "当てずっぽう 0.20" in out
