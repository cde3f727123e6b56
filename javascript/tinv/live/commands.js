// Which commands a run of this status obeys. A paused run makes no step after which it could save or generate.
const OBEYED = {
    queued: ["stop"],
    preparing: ["pause", "stop"],
    training: ["pause", "stop", "snapshot", "preview"],
    paused: ["resume", "stop"],
};

/** @param {string} status @returns {Set<string>} */
export const allowed = (status) => new Set(OBEYED[status] ?? []);
