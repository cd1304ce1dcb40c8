#!/usr/bin/env node
// An analyzer in another language than Python, here for Node: the mean of a picture's bytes.
//
//     cv-receiver --analyze program:scripts/examples/program.mjs,format=gray
//
// Descriptor 3 is a socket with a line of JSON for each question and each answer, descriptor 4 the memory in which
// the picture lies that a question is about. docs/own-analyzers.md has all of it.

import { readSync } from "node:fs";
import { Socket } from "node:net";
import { createInterface } from "node:readline";

const socket = new Socket({ fd: 3, readable: true, writable: true });
const answer = (reply) => socket.write(JSON.stringify(reply) + "\n");
let picture = Buffer.alloc(0);

createInterface({ input: socket }).on("line", (line) => {
    const question = JSON.parse(line);
    switch (question.type) {
        case "hello":
            answer(question.format === "gray" ? { result: null } : { error: "this example wants format=gray" });
            break;
        case "frame": {
            const bytes = question.width * question.height;
            if (picture.length !== bytes) picture = Buffer.alloc(bytes);
            readSync(4, picture, 0, bytes, 0);
            let sum = 0;
            for (const sample of picture) sum += sample;
            answer({ result: { mean: Math.round((100 * sum) / bytes) / 100 } });
            break;
        }
        case "finish":
            answer({ result: null });
            break;
        // "start" and "forget" are not answered, and this example keeps no state.
    }
});
