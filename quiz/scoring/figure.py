"""表と同じ数字の図: 学習の前から後への矢印、分野ごとの小さな枠、学習曲線。"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from quiz.scoring.settings import axis

WIDTH = 12  # 図の幅 (インチ)
LINE = 0.25  # 1 行の高さ (インチ)
PIXELS = 1400  # PNG の幅と高さの、大きい方 (左にはみ出す名前の分は別)
ABOVE = 2  # 段の上に空ける高さ (行の数で)
CURVES = 9  # 学習曲線の高さ (行の数で)
BESIDE = 0.09  # 枠の右に数字を書く幅 (図の幅を 1 として)
NAMED = 10  # 学習曲線の数
COLUMNS = 6  # 1 段に並べる枠の数
COLORS = {"モデル": "#2b6cb0", "学習前のモデル": "#dd7a1c", "公開の表": "#777777"}
ARROW = {"arrowstyle": "-|>", "color": "#444444", "shrinkA": 4, "shrinkB": 3}
STYLE = Path(__file__).with_suffix(".mplstyle")  # 文字の大きさなど


@dataclass(frozen=True)
class Dot:
    """1 つの正解率。"""

    name: str
    kind: str  # 凡例での種類 (COLORS の鍵)
    score: float  # 0 から 1
    interval: tuple  # 95 % 区間 (下限, 上限)
    likelihood: float | None = None  # 番号の確率での正解率


@dataclass(frozen=True)
class Panel:
    """1 つの枠: 同じ問題での正解率。"""

    title: str
    chance: float | None  # 当てずっぽうの正解率
    rows: dict  # {モデルの印: (Dot, 矢印の元の Dot か None)}。上から順に


def plot(tables, results, suffix, steps=()):
    """Table のリストの図と、Result のリストの学習曲線。suffix (png、svg、pdf) の形の bytes。

    横はどの枠も正解率 (0 から 1)、帯は 95 % 区間、破線は当てずっぽう。steps があれば、学習が
    教えたこと (taught.steps_of()) も描く。
    """
    # 読み込むだけで日本語のフォント (IPAex ゴシック) になる
    import matplotlib_fontja  # noqa: F401
    from matplotlib import style

    panels = make_panels(tables)
    if steps:
        panels.append(steps_panel(steps))
    with style.context(STYLE):
        return draw(make_levels(panels), curves_of(results), suffix)


def make_panels(tables):
    """表を、同じ問題を解いた行ごとの Panel に分ける。変えた設定があれば、その順の Panel も。"""
    panels = []
    for table in tables:
        # どの問題か分からない公開の点数は、数が同じ枠に入れる
        known = {row.n: row.questions for row in table.rows if row.result}
        groups = {}
        for row in table.rows:
            questions = row.questions or known.get(row.n)
            groups.setdefault(questions, []).append(row)
        # 分野の問題は少ないので、問題の数を題に書く
        for rows in groups.values():
            title = f"{table.title} (n={rows[0].n})"
            panels.append(Panel(title, rows[0].chance, pair_up(rows, table.versus_base)))
            setting = axis(rows)
            if setting:
                panels.append(setting_panel(title, *setting))
    return panels


def pair_up(rows, versus_base):
    """点数の順の行から Panel の rows を作る。学習後のある学習前の行は、矢印の元にだけなる。"""
    # 問題の一部が違う学習前とは、結ばない
    before = {row: c.b for row, c in versus_base.items() if c.b.questions == row.questions}
    # 同じモデルの印は、結果のファイル (公開の点数なら、モデルの名前)
    pairs = {}
    for row in rows:
        if row not in before.values():
            model = row.result.path if row.result else row.name
            tail = dot(before[row]) if row in before else None
            pairs[model] = (dot(row), tail)
    return pairs


def dot(row):
    """表の行の Dot。"""
    # 色を分ける種類
    kind = "モデル"
    if not row.result:
        kind = "公開の表"
    elif row.untrained:
        kind = "学習前のモデル"
    return Dot(row.name, kind, row.score, row.interval, row.likelihood)


def setting_panel(title, name, values):
    """変えた設定 (名前と {行: 値}) の Panel。値の小さい順。"""
    # 種だけが違う結果もあるので、値にはファイルの名前も付ける
    rows = {}
    for row in sorted(values, key=values.get):
        same = f"{name} {values[row]}: {row.name}"
        rows[same] = (Dot(same, "モデル", row.score, row.interval), None)
    return Panel(title, row.chance, rows)


def steps_panel(steps):
    """学習が教えたこと (Step のリスト) の Panel。前の段から矢印を引く。"""
    # 階段の前の段が、矢印の元になる
    rows = {}
    last = None
    for step in steps:
        kind = "モデル" if step.role == "tuned" else "学習前のモデル"
        now = Dot(step.name, kind, step.accuracy, step.interval)
        rows[step.name] = (now, last)
        last = now
    return Panel(f"学習が教えたこと (n={step.n})", None, rows)


def make_levels(panels):
    """Panel のリストを、同じモデルのものどうし、COLUMNS 個までの段に分ける。"""
    # 縦軸の名前は、段に 1 度だけ書けばよい
    same = {}
    for panel in panels:
        same.setdefault(frozenset(panel.rows), []).append(panel)
    # 分野の数が多ければ、次の段へ
    levels = []
    for group in same.values():
        for i in range(0, len(group), COLUMNS):
            levels.append(group[i : i + COLUMNS])
    return levels


def draw(levels, curves, suffix):
    """上から、Panel のリストの段を並べ、一番下に学習曲線を置いた図の bytes。"""
    from matplotlib.figure import Figure

    # 高さは行の数で数え、下へ描き足していく
    figure = Figure(figsize=(WIDTH, LINE))
    y = 0
    for level in levels:
        y -= ABOVE + len(level[0].rows)
        axes = draw_level(figure, y, level)
    # 横軸はどの枠も同じなので、目盛りの字は、一番下の段だけに
    for ax in axes:
        ax.tick_params(labelbottom=True)
    draw_legend(figure)
    if curves:
        y -= ABOVE + CURVES
        draw_curves(figure.add_axes((0, y, 0.75, CURVES)), curves)

    # はみ出したものも入れて、大きければ縮める
    image = BytesIO()
    dpi = PIXELS / max(WIDTH, -y * LINE)
    figure.savefig(image, format=suffix, dpi=dpi, bbox_inches="tight")
    return image.getvalue()


def draw_level(figure, y, level):
    """高さ y に、1 つの段 (同じモデルの Panel のリスト) を描き、枠のリストを返す。"""
    # 段の初めの枠 (全問) は、ほか (分野) の 2 倍の幅
    columns = len(level)
    grid = figure.add_gridspec(
        1,
        columns,
        left=0,
        right=1,
        bottom=y,
        top=y + len(level[0].rows),
        width_ratios=[2] + [1] * (columns - 1),
        wspace=BESIDE * columns,
    )
    axes = grid.subplots(sharey=True, squeeze=False)[0]
    for ax, panel in zip(axes, level):
        draw_panel(ax, panel, level[0].rows)
    return axes


def draw_legend(figure):
    """どの印も 1 度だけの凡例を、図の上に置く。"""
    # 名前が同じ印は、後のものだけが残る
    legend = {}
    for ax in figure.axes:
        marks, names = ax.get_legend_handles_labels()
        legend |= zip(names, marks)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 3}
    figure.axes[0].legend(legend.values(), legend, ncols=len(legend), **place)


def draw_panel(ax, panel, order):
    """枠 1 つを描く。order は、上からのモデルの印の順。"""
    names = []
    for y, model in enumerate(order):
        now, before = panel.rows[model]
        draw_dot(ax, y, now)
        names.append(now.name)
        # 矢印は、学習前から後へ
        number = f"{now.score:.2f}"
        if before:
            draw_dot(ax, y, before)
            ax.annotate("", (now.score, y), (before.score, y), arrowprops=ARROW)
            number += f" ({now.score - before.score:+.2f})"
        ax.text(1.08, y, number, va="center")
    if panel.chance:
        ax.axvline(panel.chance, color="#c53030", ls="--", lw=1, label="当てずっぽう")
    # 0 点も見えるように、横軸は 0 より左から
    ax.set(title=panel.title, xticks=(0, 0.5, 1), xlim=(-0.05, 1.05))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def draw_dot(ax, y, dot):
    """正解率の丸、区間の帯、番号の確率の印。"""
    color = COLORS[dot.kind]
    ax.hlines(y, *dot.interval, color, lw=7, alpha=0.25, label="95 % 区間")
    ax.plot(dot.score, y, "o", color=color, label=dot.kind)
    # 生成の正解率が 0 でも、番号の確率では高いことがある。記録がなければ (None)、印は付かない
    likely = {"ms": 3, "mfc": "white", "label": "番号の確率での正解率"}
    ax.plot([dot.likelihood], [y], "D", color=color, **likely)


def curves_of(results):
    """{((エポック, 番号の確率での正解率), ...): [アダプタの名前, 結果の名前, ...]}。"""
    # 同じ学習の結果が 2 つ以上あっても、線は 1 本
    curves = {}
    for result in results:
        curve = result.training.get("curve") or []
        points = tuple((point["epoch"], point["accuracy"]) for point in curve)
        if points:
            adapter = Path(result.summary.get("adapter") or "").name
            curves.setdefault(points, [adapter]).append(result.name)
    return curves


def draw_curves(ax, curves):
    """学習曲線: 横が学習した量 (エポック)、縦が番号の確率での正解率。"""
    # 40 人の線は見分けられないので、終わりの高いものだけ
    best = sorted(curves, key=lambda points: -points[-1][1])
    for points in best[:NAMED]:
        epochs, scores = zip(*points)
        ax.plot(epochs, scores, "o-", ms=3, label=" ".join(curves[points]))
    ax.set(title=f"学習曲線 (終わりの高い {NAMED} 本まで)", ylim=(0, 1.05))
    ax.set(xlabel="エポック (0 は学習前)", ylabel="番号の確率での正解率")
    ax.tick_params(labelbottom=True)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
