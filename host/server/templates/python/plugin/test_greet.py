import unittest

from greet import InvalidInput, greet

CONFIG = {"greeting": "Hello"}


class Greeting(unittest.TestCase):
    def test_a_visitor_is_greeted_by_name(self) -> None:
        lines: list[str] = []
        greeting = greet({"name": " Ada "}, CONFIG, lines.append)
        self.assertEqual(greeting, {"text": "Hello, Ada!"})
        self.assertEqual(lines, ["greeting Ada"])

    def test_a_visitor_without_a_name_is_refused(self) -> None:
        for visitor in ({"name": " "}, {}, None):
            with self.subTest(visitor=visitor), self.assertRaises(InvalidInput):
                greet(visitor, CONFIG, print)


if __name__ == "__main__":
    unittest.main()
