"""手順5: 結果のファイルから、正解率、表、図、間違いの一覧を作る。

    python analysis.py                                    # ここにある result*.json すべて
    python analysis.py result.json --genre                # 分野ごとの内訳も
    python analysis.py --table --published                # Markdown の表。区間と検定つき。チュートリアルの 217 行と並べる
    python analysis.py --errors                           # 番号の偏り、確信度と正解率、自信のある間違い
    python analysis.py --plot figure.png --html page.html # 図と、全問を見て回るページ

読むもの: run_quiz.py の result.json。2024 年版のチュートリアルの result.json (hit と out_str だけ) でもよい。
1 行目はチュートリアルと同じ「ファイル名 : 正解率」、2 行目はその内訳。「番号の確率」は確率が最大の番号を
答えとした正解率。生成の正解率より高ければ、知ってはいるが書式を守れていない。
"""

import gc
from pathlib import Path

from quiz import files
from quiz.scoring import compare as tables
from quiz.scoring import figure, page
from quiz.scoring import read_results as runs
from quiz.scoring import text as report
from quiz.command import Parser, start
from quiz.scoring.mistakes import mistakes


def main():
    parser = Parser(__doc__)
    parser.add_argument("results", nargs="*", help="結果のファイル (既定: ここにある result*.json すべて)。名前が表のモデル名になる")
    parser.add_argument("--genre", action="store_true", help="分野 (genre) ごとの正解率も出す")
    parser.add_argument("--table", action="store_true", help="分野ごとの表を、95 %% 区間、学習前や最良のモデルとの検定も付けて出す")
    parser.add_argument("--published", action="store_true", help="チュートリアルの公開の表を出す。結果のファイルがあれば並べる")
    parser.add_argument("--errors", action="store_true", help="番号の偏り、確信度と正解率、自信のある間違いを出す")
    parser.add_argument("--plot", metavar="FILE", help="モデルと分野ごとの棒グラフと、学習曲線 (.png、.svg、.pdf)")
    parser.add_argument("--html", metavar="FILE", help="全問を見て回るページ (.html)。ネットワークは使わない")
    args = parser.parse_args()
    # result* と打つと result.log も混じる。同じファイルは 1 度だけ。
    paths = list(dict.fromkeys(p for p in args.results if not p.endswith(".log"))) or sorted(map(str, Path().glob("result*.json")))
    if not paths and (not args.published or args.errors or args.html):
        files.fail("result*.json がありません。先に手順4を実行してください: python run_quiz.py")
    for option, path, suffixes in (("--plot", args.plot, (".png", ".svg", ".pdf")), ("--html", args.html, (".html",))):
        if path and Path(path).suffix not in suffixes:  # 結果のファイルを書きつぶさないためでもある
            files.fail(f"{option} {path}: ファイル名の終わりは {' か '.join(suffixes)} にしてください。")

    read = [runs.read_run(path, paths) for path in paths]
    made = tables.make_tables(read) if args.table or args.published or args.plot else {}
    made = tables.with_published(made) if args.published else made
    if args.plot:
        files.write(args.plot, figure.plot(made, runs.curves(read), Path(args.plot).suffix[1:]))
    if args.html:
        files.write(args.html, page.page(read))
    if args.table or args.published:
        print(report.markdown(made, args.table or read, args.published), end="")
    for run in read:
        if args.errors:
            print(mistakes(run))
        elif not (args.table or args.published):
            print(report.summary_lines(run, args.genre))
    for path in filter(None, (args.plot, args.html)):
        print(f"{path} を書きました")


if __name__ == "__main__":
    gc.disable()  # 何百万もの小さな値を読むだけで、循環するものはない (2 割ほど速い)
    start(main)
