"""SPATL: a shared encoder, private predictors, and uploads of salient filters only.

Yu, Nguyen, Abebe, Qian, Anwar, Jannesari, "SPATL: salient parameter aggregation and transfer
learning for heterogeneous federated learning", SC 2022, arXiv 2111.14345. Device i has data D_i,
an encoder that all share and a predictor φᵢ that never leaves it. With c the server's and cᵢ the
device's control variate, η the local rate and x the encoder received:

    encoder      y ← y - η (g - cᵢ + c)                                   `salient`
    predictor    φ ← φ - η g
    afterwards   cᵢ⁺ = cᵢ - c + (x - y) / (aη)
    upload       only the filters that an agent calls salient: L2-largest, pₗ of layer l
    server       W[θ] ← W[θ] + Σ αᵢ (yᵢ - W)[θ] / Σ αᵢ over those who sent θ   `fold`
                 c[θ] ← c[θ] + (1/N) Σ (cᵢ⁺ - cᵢ)[θ]
    agent        PPO on a two-level graph of the network; reward: accuracy    `search`, `graph`

What differs from the paper or from the code that its authors published, and why:

- a is the length of the path under momentum (FedNova's), not the number of steps K: with K the
  variates would be up to 1/(1 - ρ) times too large. `control = "post_step"` is the published form.
- Device and server move their variates where the filter was sent and nowhere else, so that c
  stays the mean of all cᵢ, c starts at zero, and the sum is divided by the whole fleet.
- The published code does not send a selection at all; here the upload is what was selected, with
  one bit for each filter. A filter goes with its bias, norm and statistics.
- The agent's reward comes from data that the device holds back, never from test data. Its graph
  keeps its node features; dropout while acting and residual slips are left out.
- Convolutions that a shortcut couples are thinned independently, as in the published code.
- The network is pre-trained on a proxy that is made at the start and not charged; the paper
  prunes ResNet-56 on CIFAR-10.
- Drop-out and asynchrony are outside the paper: see `strategy`.
"""
