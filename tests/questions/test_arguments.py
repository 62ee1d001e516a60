"""手順1と手順2に共通の引数。間違いは test_bad_inputs.py に。"""

from quiz.questions.arguments import question_arguments


def test_defaults():
    args = question_arguments("説明", "data/a.json", "b.json").parse_args([])
    assert vars(args) == {
        "source": ["data/a.json"],
        "output": "b.json",
        "num_choices": None,
        "seed": 0,
        "max_questions": None,
    }


def test_given():
    command = [
        "x.csv",
        "y.json",
        "-o",
        "z.json",
        "--num-choices",
        "4",
        "--seed",
        "-3",
        "--max-questions",
        "9",
    ]
    args = question_arguments("説明", "data/a.json", "b.json").parse_args(command)
    assert (args.source, args.output) == (["x.csv", "y.json"], "z.json")
    assert (args.num_choices, args.seed, args.max_questions) == (4, -3, 9)
