"""表と同じ数字の棒グラフと、学習曲線。"""

from io import BytesIO
from math import ceil

COLUMNS = 3  # 1 段に並べる枠の数
RIGHT = 1.12  # 横軸の右の端 (正解率は 1 まで。その右に数字を書く)
COLORS = {"モデル": "#6aa5dc", "学習前のモデル": "#f3bd7e", "公開の表": "#b8b8b8"}


def plot(tables, results, suffix):
    """Table のリストの棒グラフと、Result のリストの学習曲線。suffix (png、svg、pdf) の形の bytes。

    棒は正解率 (0 から 1)、ひげは 95 % 区間、破線は当てずっぽう。色は、学習の前と後と、公開の点数。
    """
    # 読み込むだけで日本語のフォント (IPAex ゴシック) になる
    import matplotlib_fontja  # noqa: F401
    from matplotlib.figure import Figure

    # 枠を COLUMNS 個ずつの段に並べる。高さは、最も多い棒の数に合わせる
    panels = make_panels(tables)
    curves = curves_of(results)
    count = len(panels) + bool(curves)
    columns = min(COLUMNS, count)
    levels = ceil(count / columns)
    tallest = max(4, *(len(rows) for _, rows in panels))
    size = (5 * columns + 1, levels * (tallest * 0.3 + 1) + 0.6)
    figure = Figure(figsize=size, layout="constrained")

    legend = {}
    for i, (title, rows) in enumerate(panels, 1):
        ax = figure.add_subplot(levels, columns, i)
        draw_panel(ax, title, rows)
        # どの枠でも棒の太さをそろえ、上から詰める
        ax.set_ylim(tallest - 0.4, -0.6)
        marks, names = ax.get_legend_handles_labels()
        legend |= zip(names, marks)
    if curves:
        draw_curves(figure.add_subplot(levels, columns, count), curves)
    figure.supxlabel("正解率 (ひげは 95 % 区間)", fontsize=9)
    figure.legend(legend.values(), legend, loc="outside upper center", ncols=4, frameon=False)
    image = BytesIO()
    figure.savefig(image, format=suffix, dpi=130)
    return image.getvalue()


def make_panels(tables):
    """表を、同じ問題を解いた行ごとの枠 (題, 点数の順の行) に分ける。"""
    panels = []
    for table in tables:
        # どの問題か分からない公開の点数は、数が同じ枠に入れる
        known = {row.n: row.questions for row in table.rows if row.result}
        groups = {}
        for row in table.rows:
            questions = row.questions or known.get(row.n)
            groups.setdefault(questions, []).append(row)
        for rows in groups.values():
            panels.append((f"{table.title} (n={rows[0].n})", rows))
    return panels


def draw_panel(ax, title, rows):
    """枠 1 つを描く: 行ごとの棒、ひげ、数字、番号の確率の印。"""
    for y, row in enumerate(rows):
        kind = "モデル"
        if not row.result:
            kind = "公開の表"
        elif row.untrained:
            kind = "学習前のモデル"
        ax.barh(y, row.score, 0.6, color=COLORS[kind], label=kind)
        ax.hlines(y, *row.interval, "black")
        ax.text(RIGHT - 0.01, y, f"{row.score:.2f}", va="center", ha="right", fontsize=7)
        # 棒の長さが 0 でも、番号の確率では高いことがある
        if row.likelihood is not None:
            ax.plot(row.likelihood, y, "D", ms=4, color="#333333", label="番号の確率での正解率")
    if rows[0].chance:
        ax.axvline(rows[0].chance, color="#c53030", ls="--", label="当てずっぽう")
    ax.set(title=title, xlim=(0, RIGHT))
    ax.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)


def draw_curves(ax, curves):
    """学習曲線: 横が学習した量 (エポック)、縦が番号の確率での正解率。"""
    for name, points in curves.items():
        ax.plot(*zip(*points), marker="o", markersize=3, label=name)
    ax.set(title="学習曲線", ylim=(0, 1.02))
    ax.set(xlabel="エポック (0 は学習前)", ylabel="番号の確率での正解率")
    ax.legend(fontsize=7, loc="lower right")


def curves_of(results):
    """{名前: [(エポック, 番号の確率での正解率), ...]}。"""
    curves = {}
    for result in results:
        curve = result.training.get("curve") or []
        points = [(point["epoch"], point["accuracy"]) for point in curve]
        # 同じ学習の結果が 2 つ以上あれば、初めの 1 つだけ
        if points and points not in curves.values():
            curves[result.name] = points
    return curves
