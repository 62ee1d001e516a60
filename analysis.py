"""手順5: 結果のファイルから、正解率、表、図、間違いの一覧を作る。

    python analysis.py                                    # ここにある result*.json すべて
    python analysis.py result.json --genre                # 分野ごとの内訳も
    python analysis.py --table --published                # 区間と検定つきの表、公開の表
    python analysis.py --errors                           # 番号の偏り、確信度、自信のある間違い
    python analysis.py --taught                           # 学習が何を教えたか (学習前と比べる)
    python analysis.py --table class/                     # フォルダの下の結果すべて (クラスの表)
    python analysis.py --plot figure.png --html page.html # 図と、全問を見て回るページ

読むもの: run_quiz.py の result.json。2024 年版のチュートリアルの形でもよい。
1 行目はチュートリアルと同じ「ファイル名 : 正解率」、2 行目はその内訳。「番号の確率」は確率が最大の
番号を答えとした正解率。生成の正解率より高ければ、知ってはいるが書式を守れていない。
読めない結果は、それを言って除く。名前を書いた結果が読めなければ、終了コードは 1 になる。
"""

import sys
from pathlib import Path

from quiz.command import Parser, start
from quiz.files import fail, write
from quiz.scoring.compare import make_tables
from quiz.scoring.figure import plot
from quiz.scoring.mistakes import mistakes
from quiz.scoring.page import page
from quiz.scoring.read_results import read_results
from quiz.scoring.rows import beside_published, make_rows
from quiz.scoring.taught import find_cases, steps_of
from quiz.scoring.taught_text import report
from quiz.scoring.text import markdown, summary_lines

# 何を出すか
FLAGS = {
    "--genre": "分野 (genre) ごとの正解率も出す",
    "--table": "分野ごとの表を、95 %% 区間、学習前や最良のモデルとの検定も付けて出す",
    "--published": "チュートリアルの公開の表を出す。結果のファイルがあれば並べる",
    "--errors": "番号の偏り、確信度と正解率、自信のある間違いを出す",
    "--taught": "学習が何を教えたか: 学習前の聞き方を 1 段ずつ公平にして、学習後と比べる",
}
# 書くファイル
FILES = {
    "--plot": "学習の前から後への図と、学習曲線 (.png、.svg、.pdf)",
    "--html": "全問を見て回るページ (.html)。ネットワークは使わない",
}
SUFFIXES = {"--plot": (".png", ".svg", ".pdf"), "--html": (".html",)}
NOT_TAUGHT = (
    "--taught に使う結果がありません (--blank-question の結果は使わない)。手順4を実行して"
    "ください: python run_quiz.py --base --by-text と python run_quiz.py"
)


def main():
    args = read_arguments()

    # 読めない結果は除く。1 つも読めなければ終わる
    results, problems = read_results(find_paths(args))
    if problems and not results:
        fail(" ".join(problems))
    warn(results, problems)

    # 表の中身。図も同じものから描く
    with_tables = args.table or args.published
    tables = []
    if with_tables or args.plot:
        rows = make_rows(results)
        tables = make_tables(beside_published(rows) if args.published else rows)

    # 学習が教えたこと。なければ、ファイルを書く前に終わる
    cases = find_cases(results) if args.taught else []
    if args.taught and not cases:
        fail(NOT_TAUGHT)
    taught = report(cases, results) if cases else ""

    # ファイルを書いてから、表示する
    if args.plot:
        steps = steps_of(cases[0]) if cases else []
        save(args.plot, plot(tables, results, Path(args.plot).suffix[1:], steps))
    if args.html:
        save(args.html, page(results))
    if with_tables:
        print(markdown(tables, bool(args.table or results), args.published), end="")
    if taught:
        print(taught)
    for result in results:
        if args.errors:
            print(mistakes(result))
        elif not with_tables and not taught:
            print(summary_lines(result, args.genre))

    # 名前を書いた結果が読めないのは、打ち間違いかもしれない
    if problems and args.results:
        fail("読めない結果がありました (上の注意)。")


def save(path, content):
    """ファイルを書き、そう言う。"""
    write(path, [content])
    print(f"{path} を書きました")


def read_arguments():
    """打たれた引数。"""
    # 値を取る引数は、2 度書けば断られる
    parser = Parser(__doc__)
    what = "結果のファイルか、そのフォルダ (既定: ここにある result*.json すべて)"
    parser.add_argument("results", nargs="*", help=what)
    for option, what in FLAGS.items():
        parser.add_argument(option, action="store_true", help=what)
    for option, what in FILES.items():
        parser.add_argument(option, metavar="FILE", help=what)
    args = parser.parse_args()
    # 結果のファイルを書きつぶさないためでもある
    for option, suffixes in SUFFIXES.items():
        path = getattr(args, option[2:])
        if path and Path(path).suffix not in suffixes:
            fail(f"{option} {path}: ファイル名の終わりは {' か '.join(suffixes)} にしてください。")
    return args


def find_paths(args):
    """読む結果のファイル。"""
    # result* と打つと result.log も混じる。同じファイルは 1 度だけ
    named = []
    for path in args.results:
        if Path(path).is_dir():
            named += files_in(path)
        elif not path.endswith(".log"):
            named.append(path)
    if args.results and not named:
        fail(f"{args.results[0]} は読みません。結果の .json のファイルを書いてください。")
    if not args.results:
        named = sorted(map(str, Path().glob("result*.json")))
    paths = list(dict.fromkeys(named))
    # 公開の表だけなら、結果がなくても出せる
    if not paths and not args.published:
        parts = "、".join(unfinished()) or "なし"
        fail(
            f"result*.json がありません (解きかけ: {parts})。"
            "先に手順4を実行してください: python run_quiz.py"
        )
    return paths


def files_in(folder):
    """フォルダの下のどこかにある result*.json。なければ、フォルダにある *.json。"""
    # 学生ごとのフォルダに同じ名前で集めても、1 つのフォルダに別の名前で集めてもよい
    here = sorted(Path(folder).glob("*.json"))
    found = sorted(Path(folder).rglob("result*.json")) or here
    left = [path.name for path in here if path not in found]
    if left:
        note(f"{folder} の {'、'.join(left)}: 名前が result で始まらないので、読みません。")
    return list(map(str, found)) or [folder]


def unfinished():
    """ここにある、解きかけの結果のファイル (result.json.part0 など)。"""
    # 手順4は、プロセスごとに 1 つ書き、終われば消す
    return sorted(map(str, Path().glob("*.json.part[0-9]*")))


def warn(results, problems):
    """読めない結果、書き換えられた結果、写し、解きかけの結果を言う。"""
    for problem in problems:
        note(f"{problem} この結果は除きます。")
    first = {}
    for result in results:
        lines = result.regraded
        if lines:
            note(
                f"{result.path}:{lines[0]}: 書いてある hit か out_str が、回答と合いません "
                f"(ほかに {len(lines) - 1} 件)。回答と正解から採点し直しました。"
            )
        # かかった秒まで同じ結果は、解き直したものではない
        whole = repr((result.model, result.seconds, result.answers))
        same = first.setdefault(hash(whole), result)
        if same is not result:
            note(f"{result.path}: 回答も、かかった秒も、{same.path} と同じです (写し)。")
    for part in unfinished():
        note(f"{part}: 手順4の途中です。同じコマンドをもう一度打つと、続きから解きます。")


def note(message):
    """1 行を stderr に出す。stdout は、表だけを別のファイルに残せるように。"""
    print(f"注意: {message}", file=sys.stderr)


if __name__ == "__main__":
    start(main)
