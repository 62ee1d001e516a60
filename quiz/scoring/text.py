"""結果を文字で見せる: チュートリアルの 1 行、Markdown の表、間違いの一覧。"""


from quiz.scoring import rotations
from quiz.scoring.statistics import ALPHA, scores
from quiz.scoring.compare import by_training

COLUMNS = ["Model", "Environment", "Score", "Latency"]
MORE_COLUMNS = ["n", "95% CI", "Unparsed", "Likelihood", "Chance", "vs best", "vs base"]
DIFFERENCES = ["A", "B", "共通の n", "差 A - B", "差の 95% CI", "片方だけ正解", "p", "要る n"]
TRAININGS = ["種だけが違う学習", "種", "n", "平均", "95% CI", "学習ごとの SD", "学習の SE", "問題の SE"]
INTERVAL = "{:.3f}-{:.3f}"
NOTE = f"""\
Model: 結果のファイルの名前。Environment: 問題のファイルの名前。Score: 生成した回答の正解率。
Latency: 解くのにかかった秒の合計 (計算機が違えば比べられない)。n: 問題の数。95% CI: Score の Wilson の信頼区間。
Unparsed: 番号を読み取れない回答。Likelihood: 番号の確率での正解率。Chance: 当てずっぽうの正解率。
vs best、vs base: 表で最良の学習したモデル、同じモデルの学習前との比較。+a -b は自分だけが正解した問題が a 問、相手だけが正解した
問題が b 問。p は McNemar の正確検定 (同じ表の同じ列の中で Holm の補正)。≈ は最良と区別できない (p ≥ {ALPHA})。
比べるのは、モデルに見せた問題、選択肢、その順と、正解が同じ問題だけ。
種だけが違う学習の表: 平均は学習ごとの Score の平均、SD はその標準偏差。SE は、学習と問題の選ばれ方による平均の標準誤差 (二元配置の分散分析)
で、95% CI は両方を合わせた区間 (正規近似)。
「(順の平均)」は --rotations の結果で、Score は番号の確率を順について平均した答えの正解率 (生成の正解率ではない)。
差の表: 95% CI は Newcombe の区間 (対応のある割合の差)。要る n は、その差を検定が 8 割の確率で見つけるのに要る問題の数 (Connor の式)。
"""
PUBLISHED_NOTE = """\
公開の表は、この実装より前の run_quiz.py が別の計算機で出したもの。dev1 (quiz.json) と dev2 (quiz-dev2.json) は、全問を解いた結果なら
同じ問題の公開の表に並ぶが、選択肢の引き方は違う。dev3 は JCommonsenseQA v1.1 の valid、dev4 は train。dev5 から dev9 の n は、桁の多い
Score がすべて 整数/n になる最小の数。3 桁の Score は 2024-02 の版、ほかはチュートリアルの表から。
"""


def show(value, pattern="{:.2f}"):
    return "-" if value is None else pattern.format(value)


def percent(value):
    return show(value and 100 * value, "{:.1f} %")


def versus(row, name):
    """行 row の vs best か vs base の欄。"""
    found = row.get(f"vs {name}")
    if not found or not found["n"]:
        return name if row.get(name) and row[name] is row else "-"
    return f"+{found['won']} -{found['lost']} {p_value(found['p'])}{' ≈' if name == 'best' and found['p'] >= ALPHA else ''}"


def p_value(p):
    return f"p={p:.3f}" if p >= 0.001 else "p<0.001"


def differences(rows):
    """表の行どうしの差の表の行と、比べなかった組の説明。"""
    lines, left = [], []
    for row in rows:
        for name in ("best", "base"):
            other, found = row.get(name), row.get(f"vs {name}")
            if not found or name == "best" and other["base"] is row:  # 最良とその学習前は、差 (学習後 - 学習前) を 1 度だけ
                continue
            if found["n"]:
                low, high = found["interval"]
                lines.append([row["name"], other["name"], str(found["n"]), f"{found['difference']:+.3f}", f"{low:+.3f} から {high:+.3f}",
                              f"+{found['won']} -{found['lost']}", p_value(found["p"]), show(found["needed"], "{:,}")])
            if found["why"]:
                left.append(f"- {row['name']} と {other['name']}: {found['why']}")
    return (["", *grid(DIFFERENCES, lines)] if lines else []) + (["", "比べなかったもの:", *left] if left else [])


def trainings(rows):
    """種だけが違う学習をまとめた表の行。"""
    lines = [[str(t["names"][0]), ", ".join(map(str, t["seeds"])), str(t["n"]), f"{t['mean']:.4f}", INTERVAL.format(*t["interval"]),
              f"{t['spread']:.4f}", f"{t['trainings']:.4f}", f"{t['questions']:.4f}"] for t in by_training(rows)]
    return ["", *grid(TRAININGS, lines)] if lines else []


def grid(header, rows):
    """Markdown の表の行のリスト。"""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def markdown(tables, full, published):
    """チュートリアルと同じ形の表。full なら n から右の列と、その読み方も付ける。"""
    parts = []
    for key, rows in tables.items():
        width, lines = max(len(row["environment"]) for row in rows), []
        for row in rows:
            cells = [f"{row['score']:.4f}", show(row["latency"], "{:.1f}"), str(row["n"]), INTERVAL.format(*row["interval"]),
                     percent(row["unparsed"]), show(row["likelihood"], "{:.4f}"), show(row["chance"]), versus(row, "best"),
                     versus(row, "base")]
            lines.append([f"{row['name']:<30}", f"{row['environment']:<{width}}", *(cells if full else row["digits"])])
        more = [*differences(rows), *trainings(rows)] if full else []
        parts.append("\n".join([f"### Table for key: {key}", *grid(COLUMNS + (MORE_COLUMNS if full else []), lines), *more, ""]))
    return "\n".join([*parts, NOTE + (PUBLISHED_NOTE if published else "")] if full else parts)


def summary_lines(run, by_genre):
    """チュートリアルと同じ 1 行と、その内訳。"""
    lines = []
    for genre in [None, *sorted({r["genre"] for r in run["records"] if r["genre"]} if by_genre else ())]:
        s = scores([r for r in run["records"] if genre in (None, r["genre"])])
        head = f"{genre}: {s['score']:.2f} ({s['n']} 問)" if genre else f"{s['n']} 問  読み取れない {percent(s['unparsed'])}"
        lines.append(f"    {head}  番号の確率 {show(s['likelihood'])}  当てずっぽう {show(s['chance'])}")
    if run["rotations"]:
        found = rotations.summary(run["rotations"])
        lines.append(f"    選択肢の順を変えた全体: 正解率 {found['accuracy']:.2f}  どの順でも正解 {found['always']:.2f}  "
                     f"どの順でも同じ選択肢 {found['consistent']:.2f}")
    if run["rotations"]:
        lines.append("    1 行目は、番号の確率を順について平均した答えの正解率 (生成の正解率ではない)")
    return "\n".join([f"{run['path']:<60} : {round(scores(run['records'])['score'], 4)}", *lines])
