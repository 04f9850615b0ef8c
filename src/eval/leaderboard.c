/* eval/leaderboard.c - AlpacaEval's figures from its annotations; the length-controlled one
 * needs downloaded tables and is not here. */
#include <math.h>

#include "eval/eval.h"

/* A draw is written as 1.5 by later versions and as 0 by the first. */
static double win(double preference)
{
    return preference == 0 ? 0.5 : preference - 1;
}

struct leaderboard_row leaderboard(const double *preference, int n)
{
    struct leaderboard_row r = {0};
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++) {
        if (isnan(preference[i]))
            continue;
        double w = win(preference[i]);
        sum += w;
        r.n_total++;
        r.n_wins += w > 0.5;
        r.n_wins_base += w < 0.5;
        r.n_draws += w == 0.5;
    }
    double mean = sum / r.n_total;
    for (int i = 0; i < n; i++)
        if (!isnan(preference[i]))
            square += (win(preference[i]) - mean) * (win(preference[i]) - mean);
    r.win_rate = 100 * mean;
    r.standard_error = 100 * sqrt(square / (r.n_total - 1)) / sqrt(r.n_total);
    r.discrete_win_rate = 100 * (r.n_wins + 0.5 * r.n_draws) / r.n_total;
    return r;
}
