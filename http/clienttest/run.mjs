// Drives a running takd with node-tak, as CloudTAK does, and compares every
// answer with node-tak's own schemas. The settings come as JSON in TAKD:
// enroll, api and stream addresses, users with passwords, an administrator.
// Each step is printed when it is done; the first that fails ends the program.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { FormatRegistry } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import CoT from '@tak-ps/node-cot';
import TAK, { APIAuthCertificate, APIAuthPassword } from '@tak-ps/node-tak';
import TAKAPI from '@tak-ps/node-tak/lib/api';
import { TAKItem_Certificate, TAKList_Certificate } from '@tak-ps/node-tak/lib/api/certificate';
import { Contact } from '@tak-ps/node-tak/lib/api/contacts';
import { Content, TAKList_Content } from '@tak-ps/node-tak/lib/api/files';
import { TAKList_Group } from '@tak-ps/node-tak/lib/api/groups';
import { TAKList_Iconsets } from '@tak-ps/node-tak/lib/api/iconsets';
import { TAKList_Injector } from '@tak-ps/node-tak/lib/api/injectors';
import { Package } from '@tak-ps/node-tak/lib/api/package';
import { TAKList_Repeater } from '@tak-ps/node-tak/lib/api/repeater';
import { TAKList_Subscription } from '@tak-ps/node-tak/lib/api/subscriptions';
import { VideoConnection, VideoConnectionList } from '@tak-ps/node-tak/lib/api/video';
import { createHash } from 'node:crypto';
import { Type } from '@sinclair/typebox';

const site = JSON.parse(process.env.TAKD);
FormatRegistry.Set('date-time', (text) => !Number.isNaN(Date.parse(text)));
FormatRegistry.Set('date', (text) => !Number.isNaN(Date.parse(text)));

let steps = 0;
async function step(name, f) {
    const result = await f();
    steps++;
    console.log(`ok ${name}`);
    return result;
}

function fits(schema, value) {
    const wrong = Value.Errors(schema, value).First();
    assert.equal(wrong, undefined, `${JSON.stringify(wrong)} in ${JSON.stringify(value)}`);
    return value;
}

// until waits for what comes by itself.
async function until(what, f) {
    for (const end = Date.now() + 15_000; Date.now() < end; await pause(50)) {
        const result = await f();
        if (result) return result;
    }
    assert.fail(`still no ${what}`);
}

const { user, password } = site;
const enroll = new URL(site.enroll);

await step('a wrong password is refused in the words that CloudTAK reads', () =>
    assert.rejects(TAKAPI.init(enroll, new APIAuthPassword(user, 'wrong password')),
        (err) => /incorrect Username or Password/.test(err.safe)));

const login = await step('login', () => TAKAPI.init(enroll, new APIAuthPassword(user, password)));

await step('the token says who it is', async () => {
    const { contents } = await login.OAuth.login({ username: user, password });
    assert.equal(contents.sub, user);
    for (const claim of ['nbf', 'exp', 'iat']) assert.equal(typeof contents[claim], 'number');
    assert.equal(typeof contents.aud, 'string');
});

const own = await step('enrollment', async () => {
    const made = await login.Credentials.generate();
    assert.match(made.cert, /^-----BEGIN CERTIFICATE-----\n[\s\S]+\n-----END CERTIFICATE-----$/);
    assert.equal(made.ca.length, 2);
    assert.ok(made.cert.length <= 4096 && made.key.length <= 4096, 'CloudTAK keeps no more');
    return made;
});

const api = await step('the API by certificate', () => TAKAPI.init(new URL(site.api), new APIAuthCertificate(own.cert, own.key)));

await step('version', async () => {
    const text = await api.fetch(new URL('/Marti/api/version', site.api), { method: 'GET' });
    assert.match(text, /^TAK Server /);
});

await step('files/api/config', async () => {
    const config = await api.Files.config();
    assert.equal(typeof config.uploadSizeLimit, 'number');
});

const seen = { uids: new Set(), types: new Set() };

const stream = await step('the stream', async () => {
    const tak = await TAK.connect(new URL(site.stream), { cert: own.cert, key: own.key });
    tak.on('error', () => {});
    tak.on('cot', (cot) => {
        seen.uids.add(cot.uid());
        seen.types.add(cot.type());
    });
    await until('answer to a ping', () => tak.open);
    await until('the server version', () => tak.version); // it comes after the positions of the others
    return tak;
});

await step('positions, both ways', async () => {
    const now = Date.now();
    const time = (ms) => new Date(now + ms).toISOString();
    await stream.write([new CoT({
        event: {
            _attributes: { version: '2.0', uid: 'ANDROID-CloudTAK-' + user, type: 'a-f-G-E-V-C', how: 'm-g', time: time(0), start: time(0), stale: time(60_000) },
            point: { _attributes: { lat: '48.1', lon: '11.5', hae: '500', ce: '9', le: '9' } },
            detail: { contact: { _attributes: { callsign: 'Cloud', endpoint: '*:-1:stcp' } }, __group: { _attributes: { name: 'Cyan', role: 'Team Member' } } },
        },
    })]);
    await until('position of ' + site.other, () => seen.uids.has(site.other));
});

await step('contacts', async () => {
    const list = await until('contact', async () => {
        const all = fits(Type.Array(Contact), await api.Contacts.list());
        return all.some((c) => c.uid === 'ANDROID-CloudTAK-' + user) && all;
    });
    assert.ok(list.some((c) => c.uid === site.other));
});

await step('clientEndPoints', async () => {
    const { data } = await api.Client.list({ showCurrentlyConnectedClients: true });
    assert.ok(data.some((c) => c.uid === site.other && c.lastStatus === 'Connected'));
});

await step('groups, and switching one off and on', async () => {
    const all = fits(TAKList_Group, await api.Group.list({ useCache: true }));
    assert.deepEqual(all.data.map((g) => `${g.name} ${g.direction} ${g.active}`), ['Blue IN true', 'Blue OUT true']);
    await api.Group.update(all.data.map((g) => ({ ...g, active: false })), {});
    await until('t-x-g-c', () => seen.types.has('t-x-g-c'));
    const off = await api.Group.list({ useCache: true });
    assert.ok(off.data.every((g) => g.active === false));
    await api.Group.update(all.data, {});
    const on = await api.Group.list({ useCache: true });
    assert.ok(on.data.every((g) => g.active === true));
});

await step('subscriptions', async () => {
    const { data } = fits(TAKList_Subscription, await api.Subscription.list({ sortBy: 'CALLSIGN', direction: 'ASCENDING', page: -1, limit: -1 }));
    assert.ok(data.some((s) => s.clientUid === 'ANDROID-CloudTAK-' + user));
});

// With a certificate node-tak leaves out the method of some calls, which its
// HTTP library refuses: so these are by password.
const admin = await step('an administrator logs in', () => TAKAPI.init(enroll, new APIAuthPassword(site.admin, site.adminPassword)));

const hash = await step('certificates of a user', async () => {
    const { data } = fits(TAKList_Certificate, await admin.Certificate.list(user));
    assert.equal(data.length, 1);
    assert.equal(data[0].clientUid, user + ' (ETL)');
    const one = fits(TAKItem_Certificate, await admin.Certificate.get(data[0].hash));
    assert.equal(one.data.id, data[0].id);
    assert.equal((await admin.Certificate.download(data[0].hash)).replace(/\s/g, ''), own.cert.replace(/\s/g, ''));
    for (const list of ['listRevoked', 'listReplaced', 'listExpired']) fits(TAKList_Certificate, await admin.Certificate[list]());
    return data[0].hash;
});

await step('injectors', async () => {
    const note = { uid: site.other, toInject: '<note text="by node-tak"/>' };
    assert.deepEqual(fits(TAKList_Injector, await admin.Injectors.create(note)).data, [note]);
    assert.deepEqual(fits(TAKList_Injector, await admin.Injectors.get(site.other)).data, [note]);
    assert.deepEqual(fits(TAKList_Injector, await admin.Injectors.list()).data, [note]);
    assert.deepEqual(fits(TAKList_Injector, await admin.Injectors.delete(note)).data, []);
    await assert.rejects(admin.Injectors.create({ ...note, toInject: '</detail></event>' }));
});

await step('repeater', async () => {
    assert.deepEqual(fits(TAKList_Repeater, await admin.Repeater.list()).data, []);
    const { data: period } = await admin.Repeater.period(); // as the official server has it, whatever its type says
    assert.equal(typeof period, 'number');
    await admin.Repeater.period(period);
    await admin.Repeater.delete('nobody');
});

await step('an export of tracks', async () => {
    const hour = 3_600_000;
    const span = { startTime: new Date(Date.now() - hour).toISOString(), endTime: new Date(Date.now() + hour).toISOString(), groups: ['Blue'] };
    await until('track of ' + site.other, async () => {
        const parts = [];
        for await (const part of await api.Export.export({ ...span, format: 'kml' })) parts.push(Buffer.from(part));
        const text = Buffer.concat(parts).toString();
        return text.includes('<kml') && text.includes(site.callsign);
    });
});

// bytes are what a body holds.
async function bytes(body) {
    const parts = [];
    for await (const part of body) parts.push(Buffer.from(part));
    return Buffer.concat(parts);
}

const photo = Buffer.from('a photo');

await step('a file goes up, is listed, comes down, and goes', async () => {
    const made = fits(Content, await api.Files.upload({
        name: 'photo one.jpg', contentLength: photo.length, keywords: ['a', 'b'], creatorUid: 'ANDROID-CloudTAK-' + user, latitude: '48.1', longitude: '11.5',
    }, photo));
    assert.equal(made.Hash, createHash('sha256').update(photo).digest('hex'));
    assert.deepEqual([made.Name, made.MIMEType, made.Keywords, made.SubmissionUser], ['photo one.jpg', 'image/jpeg', ['a', 'b'], user]);
    const { data } = fits(TAKList_Content, await api.Files.list());
    assert.ok(data.some((f) => f.filename === 'photo one.jpg' && f.size === photo.length));
    assert.ok((await bytes(await api.Files.download(made.Hash))).equals(photo));
    assert.equal(JSON.parse(await api.Files.meta(made.Hash)).Hash, made.Hash);
    assert.equal((await api.Files.count()).data, data.length);
    await api.Files.delete(made.Hash);
    assert.equal((await api.Files.count()).data, data.length - 1);
    await admin.Files.adminDelete(made.Hash); // what is gone can be deleted again
});

await step('a data package goes up, and is on the list of packages', async () => {
    const pack = Buffer.from('not even a zip');
    const sum = createHash('sha256').update(pack).digest('hex');
    const url = new URL(await api.Files.uploadPackage({ name: 'trip.zip', creatorUid: 'ANDROID-CloudTAK-' + user, hash: sum, keywords: ['k'], groups: ['Blue'] }, pack));
    assert.equal(url.searchParams.get('hash'), sum);
    const list = await api.Package.list({ name: 'trip', tool: 'public' });
    assert.equal(list.resultCount, 1);
    const one = fits(Package, list.results[0]);
    assert.deepEqual([one.UID, one.Hash, one.Size, one.EXPIRATION], [sum, sum, String(pack.length), '-1']);
    assert.ok((await bytes(await api.Files.download(sum))).equals(pack));
    await assert.rejects(api.Files.uploadPackage({ name: 'x.zip', creatorUid: 'U', hash: sum, groups: ['Red'] }, pack), /may not send/);
    await api.Files.delete(sum);
});

await step('videos', async () => {
    const made = fits(VideoConnection, await api.Video.create({ groups: ['Blue'], active: true, alias: 'Drone', feeds: [{ active: true, alias: 'nose', url: 'rtsp://10.0.0.1:-1/live' }] }));
    assert.equal(made.feeds[0].url, 'rtsp://10.0.0.1/live');
    const changed = fits(VideoConnection, await api.Video.update({ ...made, alias: 'Drone 2' }));
    assert.deepEqual([changed.uuid, changed.alias, changed.feeds[0].uuid], [made.uuid, 'Drone 2', made.feeds[0].uuid]);
    const rtsp = fits(VideoConnectionList, await api.Video.list({ protocol: 'rtsp' }));
    assert.deepEqual(rtsp.videoConnections.map((v) => v.uuid), [made.uuid]);
    assert.deepEqual((await api.Video.list({ protocol: 'rtmp' })).videoConnections, []);
    await api.Video.delete(made.uuid);
    await assert.rejects(api.Video.get(made.uuid));
});

await step('events of a uid, the newest and all', async () => {
    const one = await api.Query.singleFeat(site.other);
    assert.deepEqual([one.id, one.properties.callsign], [site.other, site.callsign]);
    const all = await api.Query.historyFeats(site.other, { secago: '3600' });
    assert.ok(all.length > 0 && all.every((f) => f.id === site.other));
    await assert.rejects(api.Query.single('nobody'));
    assert.deepEqual(await api.Query.historyFeats('nobody'), []);
});

await step('a place that is reported', () => api.Locate.generate({ latitude: 48.1, longitude: 11.5, name: 'Lost', remarks: 'seen & gone' }));

await step('icon sets', async () => fits(TAKList_Iconsets, await api.Iconsets.list()));

await step('the profile of a device', async () => {
    const pack = await api.Profile.connection({ syncSecago: -1, clientUid: 'ANDROID-CloudTAK-' + user });
    assert.ok(pack !== null && pack !== undefined);
});

await step('the user is no administrator', () => assert.rejects(login.Certificate.list(), /Access is denied/));

await step('revoking ends the stream, and says so in the words that CloudTAK reads', async () => {
    const revoked = fits(TAKItem_Certificate, await admin.Certificate.revoke(hash));
    assert.ok(revoked.data.revocationDate);
    await until('end of the stream', () => stream.destroyed);
    await assert.rejects(api.Contacts.list(), /BadCredentialsException/);
});

console.log(`${steps} steps`);
process.exit(0);
