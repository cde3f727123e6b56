// Which commands a run of this status obeys. A paused run makes no step after which it could save or generate. One that
// was stopped or has failed can go on where it ended.
const OBEYED = {
    queued: ["stop"],
    preparing: ["pause", "stop"],
    training: ["pause", "stop", "snapshot", "preview"],
    paused: ["resume", "stop"],
};

/** @param {{status: string, can_resume: boolean}} job @returns {Set<string>} */
export const allowed = ({ status, can_resume }) => new Set(can_resume ? ["resume"] : (OBEYED[status] ?? []));
