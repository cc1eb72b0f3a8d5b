import torch
import torch.nn.functional as F

from st_reid.training.cost import flop_counter


def test_attention_counts_as_its_two_matrix_products():
    query, key, value = torch.randn(3, 1, 2, 5, 8).unbind()
    with torch.no_grad(), flop_counter() as counter:
        F.scaled_dot_product_attention(query, key, value)
    assert counter.get_total_flops() == 2 * (2 * 2 * 5 * 5 * 8)
