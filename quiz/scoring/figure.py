"""表と同じ数字の棒グラフと、学習曲線。"""

from dataclasses import dataclass
from io import BytesIO

COLUMNS = 3  # 1 段に並べる枠の数
RIGHT = 1.12  # 横軸の右の端 (正解率は 1 まで。その右に数字を書く)
COLORS = {"モデル": "#6aa5dc", "学習前のモデル": "#f3bd7e", "公開の表": "#b8b8b8"}


@dataclass(frozen=True)
class Panel:
    """図の 1 つの枠: 同じ問題を解いた行。"""

    title: str
    pairs: list  # (行, そのモデルの学習前の行か None)。上からの順


def plot(tables, curves, suffix):
    """Table のリストと {名前: 学習曲線} の図を、suffix (png、svg、pdf) の形式の bytes で返す。

    棒は正解率 (0 から 1)、ひげは 95 % 区間、破線は当てずっぽう。学習前の棒は、学習後の棒のすぐ下。
    """
    # 読み込むだけで日本語のフォント (IPAex ゴシック) になる
    import matplotlib_fontja  # noqa: F401
    from matplotlib.figure import Figure

    # 枠を COLUMNS 個ずつの段に並べる。段の高さは、その段で最も多い棒の組の数
    panels = make_panels(tables)
    sizes = [len(panel.pairs) for panel in panels] + [4] * bool(curves)
    columns = min(COLUMNS, len(sizes))
    heights = [max(sizes[i : i + columns]) for i in range(0, len(sizes), columns)]
    size = (5 * columns + 1, 0.6 + sum(heights) * 0.34 + len(heights) * 0.9)
    figure = Figure(figsize=size, layout="constrained")
    ratios = [height + 0.6 for height in heights]
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=ratios)

    legend = {}
    for i, (ax, panel) in enumerate(zip(axes.flat, panels)):
        draw_panel(ax, panel)
        # 同じ段では棒の太さをそろえ、上から詰める
        ax.set_ylim(heights[i // columns] - 0.4, -0.6)
        marks, names = ax.get_legend_handles_labels()
        legend |= zip(names, marks)
    if curves:
        draw_curves(axes.flat[len(panels)], curves)
    # 余った枠
    for ax in axes.flat[len(sizes) :]:
        ax.remove()

    figure.supxlabel("正解率 (ひげは 95 % 区間)", fontsize=9)
    figure.legend(legend.values(), legend, loc="outside upper center", ncols=4, frameon=False)
    image = BytesIO()
    figure.savefig(image, format=suffix, dpi=130)
    return image.getvalue()


def make_panels(tables):
    """表を、同じ問題を解いた行ごとの枠に分ける。"""
    panels = []
    for table in tables:
        for rows in same_questions(table.rows):
            pairs = pair_with_base(rows, table.versus_base)
            panels.append(Panel(f"{table.title} (n={rows[0].n})", pairs))
    return panels


def same_questions(rows):
    """行を、同じ問題を解いたものごとに分ける。"""
    # どの問題か分からない行 (公開の点数など) は、数が同じ組に入れる
    known = {row.n: frozenset(row.answers) for row in rows if row.answers}
    groups = {}
    for row in rows:
        questions = frozenset(row.answers) or known.get(row.n, row.n)
        groups.setdefault(questions, []).append(row)
    return groups.values()


def pair_with_base(rows, versus_base):
    """(行, 学習前の行) のリスト。学習前の行が rows になければ None。"""
    bases = {}
    for row in rows:
        comparison = versus_base.get(row)
        if comparison and comparison.b in rows:
            bases[row] = comparison.b
    # 組になった学習前の行は、ひとりでは並べない
    return [(row, bases.get(row)) for row in rows if row not in bases.values()]


def draw_panel(ax, panel):
    """枠 1 つを描く。"""
    for y, (row, base) in enumerate(panel.pairs):
        # 学習前の行があれば、1 つの場所に細い棒を 2 本
        if base:
            draw_bar(ax, row, y - 0.2, 0.4)
            draw_bar(ax, base, y + 0.2, 0.4)
        else:
            draw_bar(ax, row, y, 0.6)
        if row.chance:
            ax.vlines(row.chance, y - 0.5, y + 0.5, "#c53030", "--", label="当てずっぽう")
    names = [row.name for row, _ in panel.pairs]
    ax.set(title=panel.title, xlim=(0, RIGHT))
    ax.set_yticks(range(len(names)), names, fontsize=8)


def draw_bar(ax, row, y, height):
    """行 1 つの棒、ひげ、数字、番号の確率の印を描く。"""
    kind = "モデル"
    if not row.result:
        kind = "公開の表"
    elif row.untrained:
        kind = "学習前のモデル"

    # ひげの長さは、丸めの誤差から負になることがある
    low, high = row.interval
    whiskers = [[max(0, row.score - low)], [max(0, high - row.score)]]
    ax.barh(y, row.score, height, color=COLORS[kind], capsize=1.5, xerr=whiskers, label=kind)
    ax.text(RIGHT - 0.01, y, f"{row.score:.2f}", va="center", ha="right", fontsize=7)

    # 棒の長さが 0 でも、番号の確率では高いことがある
    if row.likelihood is not None:
        ax.plot(row.likelihood, y, "D", ms=4, color="#333333", label="番号の確率での正解率", ls="")


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
