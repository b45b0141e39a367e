// How quickly any rule could act that keeps the same promise (analysis 8.4).
#pragma once

namespace canaryd::peers {

struct InformationBound {
    double kl = 0;           // nats a request: Kullback and Leibler of q against p0
    double known = 0;        // requests, fault time known in advance (Wald 1945)
    double changepoint = 0;  // requests, fault time unknown within the horizon (Lai 1998)
};
/// Rate q against limit p0, P(false alarm) <= alpha over `horizon` minutes at `per_minute`.
InformationBound information_bound(double p0, double q, double alpha, double per_minute,
                                   double horizon);

}  // namespace canaryd::peers
