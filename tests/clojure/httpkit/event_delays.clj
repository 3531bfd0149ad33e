(ns httpkit.event-delays
  "How long after it was sent an event can be read, in other programs: curl, Node, Python, Chromium."
  (:require [clojure.java.io    :as io]
            [clojure.java.shell :as shell]
            [clojure.string     :as str]
            [httpkit.browser    :as browser]
            [org.httpkit.sse    :as sse])
  (:import (java.time Instant)))

(set! *warn-on-reflection* true)

(defn- now-s
  "Seconds since 1970, with all digits that the clock has."
  []
  (let [now (Instant/now)]
    (str (.getEpochSecond now) "." (subs (str (+ 1000000000 (.getNano now))) 1))))

(defn clock
  "A stream of `n` events, `ms` apart, of which each has the time at which it was sent. `sent`, if given, is called with
  the ms that each `send!` took. It has then written the event to the socket: the rest of a delay is the reader's."
  [n ms & {:keys [sent] :or {sent (fn [_])}}]
  (fn [req]
    (sse/stream req {:on-open (fn [s]
                                (future
                                  (dotimes [_ n]
                                    (let [time  (now-s)
                                          start (System/nanoTime)]
                                      (sse/send! s {:data time})
                                      (sent (/ (- (System/nanoTime) start) 1e6)))
                                    (Thread/sleep (long ms))) ; The source's pace.
                                  (sse/close s)))})))

(def page
  "For a browser: reads the clock at /clock until it ends."
  "<!doctype html><title>clock</title><script>
     window.delays = [];
     const source = new EventSource('/clock');
     source.onmessage = e => delays.push(Math.max(0, performance.timeOrigin + performance.now() - 1000 * Number(e.data)));
     source.onerror = () => { source.close(); window.ended = true; };
   </script>")

(def ^:private node-reader
  "(async () => {
     const [url, encoding] = process.argv.slice(1);
     const response = await fetch(url, {headers: {'Accept-Encoding': encoding}});
     if ((response.headers.get('content-encoding') ?? 'identity') !== encoding) throw new Error('not ' + encoding);
     const decoder = new TextDecoder();
     let text = '';
     for await (const piece of response.body) {
       text += decoder.decode(piece, {stream: true});
       for (let end; (end = text.indexOf('\\n\\n')) >= 0; text = text.slice(end + 2))
         console.log(Math.max(0, performance.timeOrigin + performance.now() - 1000 * Number(text.slice(6, end))));
     }
   })()")

(def ^:private python-reader
  "import sys, time, urllib.request, zlib
url, encoding = sys.argv[1:]
request = urllib.request.Request(url, headers={'Accept-Encoding': encoding})
response = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
assert response.headers.get('content-encoding', 'identity') == encoding
decoder, text = zlib.decompressobj(31), b''
while True:
    piece = response.read1(65536)
    if not piece:
        break
    text += decoder.decompress(piece) if encoding == 'gzip' else piece
    while b'\\n\\n' in text:
        event, text = text.split(b'\\n\\n', 1)
        print(max(0, 1000 * (time.time() - float(event[6:]))))
assert encoding == 'identity' or decoder.eof
")

(defn- told
  "The delays that a program prints."
  [& command]
  (let [{:keys [exit out err]} (apply shell/sh "timeout" "60" command)]
    (when-not (zero? (long exit))
      (throw (ex-info (str (first command) " failed: " err) {})))
    (map parse-double (remove str/blank? (str/split-lines out)))))

(defn- by-curl
  "As seen by a program that curl writes to."
  [url encoding]
  (let [^java.util.List command (cond-> ["curl" "-sSN" "-m" "60" url] (= encoding "gzip") (conj "--compressed"))
        process (.start (.redirectErrorStream (ProcessBuilder. command) true))]
    (with-open [out (io/reader (.getInputStream process))]
      (doall (for [line (line-seq out)
                   :let [[_ sent] (re-matches #"data: ([0-9.]+)" line)]
                   :when sent]
               (max 0.0 (* 1000 (- (parse-double (now-s)) (double (parse-double sent))))))))))

(defn- by-chromium [url _encoding]
  (browser/with-browser
    (fn [b]
      (let [tab (browser/open-tab b (str/replace url #"/clock$" "/page"))]
        (when-not (browser/wait-until tab "window.ended === true")
          (throw (ex-info "Chromium did not read the stream to its end" {})))
        (map parse-double (str/split (browser/evaluate tab "delays.join(',')") #","))))))

(def readers
  "Functions of the URL of a `clock` and an encoding, `gzip` or `identity`, to milliseconds for each event. Chromium accepts
  what the server chooses, and needs the clock at /clock and `page` at /page."
  {"curl"     by-curl
   "Node"     #(told "node" "-e" node-reader %1 %2)
   "Python"   #(told "python3" "-c" python-reader %1 %2)
   "Chromium" by-chromium})
