from st_reid.drawing.markdown import markdown_table


def test_a_bar_in_a_cell_is_no_column():
    assert markdown_table(["a|b"], [[1], ["x|y"]]) == "| a\\|b |\n| --- |\n| 1 |\n| x\\|y |\n"
