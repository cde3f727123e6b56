// What part of a blend each has.

/** Weights as whole percents that sum up to 100. @param {number[]} weights @returns {number[]} */
export function shares(weights) {
    const whole = weights.reduce((sum, weight) => sum + weight, 0);
    if (!(whole > 0)) return weights.map(() => 0);
    const exact = weights.map((weight) => (100 * weight) / whole);
    const down = exact.map(Math.floor);
    const missing = 100 - down.reduce((sum, one) => sum + one, 0);
    const order = exact.map((_, index) => index).sort((a, b) => exact[b] - down[b] - (exact[a] - down[a]));
    for (const index of order.slice(0, missing)) down[index] += 1;
    return down;
}
