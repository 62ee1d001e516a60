"""学習曲線: 初めと終わりの値は、手順4の番号の確率での正解率そのもの。"""

from types import SimpleNamespace

import pytest
from conftest import read
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from quiz.prompt import Question
from quiz.training.curve import Curve


@pytest.mark.parametrize(
    "n, choices, accuracy, silent",
    [
        (200, 5, 0.235, False),
        (200, 5, 0.3, True),
        (179, 5, 0.972, True),
        # 当てずっぽうより低くても、より高いとは言えない
        (9, 2, 0.0, False),
        (9, 2, 1.0, True),
        # 全問に正解しても言えないほど少ないなら、何も言わない
        (4, 2, 1.0, True),
        (1, 5, 0.0, True),
    ],
)
def test_no_better_than_guessing(n, choices, accuracy, silent):
    question = Question("問い?", tuple("いろはにほ"[:choices]), 0)
    curve = SimpleNamespace(asked=[(question, [])] * n)
    text = Curve.guessed(curve, accuracy)
    assert (text is None) == silent
    assert silent or f"({1 / choices:.2f})" in text


def test_report_and_learning_curve_of_the_demo(demo):
    """学習の記録は終わりまで進む。

    学習曲線の初めと終わりは、手順4の番号の確率での正解率そのもの。TensorBoard でも見られる。
    """
    report = read(demo / "demo-qlora-out/training.json")
    assert report["finished"] and report["steps_done"] == report["steps_planned"] == 3 * 224
    assert report["questions"] == 895 and report["first_loss"] > 2 > report["last_loss"]
    curve = report["curve"]
    assert [p["epoch"] for p in curve] == [0, 1, 2, 3]
    assert "より高いとは言えません" not in (demo / "stdout.txt").read_text()
    for point, name in ((curve[0], "result-base.json"), (curve[-1], "result.json")):
        records = read(demo / name)[:-1]
        likely = [
            r["choice_probs"].index(max(r["choice_probs"])) == int(r["correct_answer"][0])
            for r in records
        ]
        assert point["accuracy"] == pytest.approx(sum(likely) / len(likely), abs=1.5 / len(likely))
    events = EventAccumulator(str(next(demo.glob("demo-qlora-out/runs/*")))).Reload()
    assert [e.value for e in events.Scalars("eval/quiz_label_accuracy")] == pytest.approx(
        [p["accuracy"] for p in curve]
    )
    assert len(events.Scalars("train/loss")) == report["steps_done"]
    assert read(demo / "result-dev2.json")[-1]["training"]["curve"] == curve
