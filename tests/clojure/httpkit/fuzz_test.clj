(ns httpkit.fuzz-test
  "What the JVM's side reads of a peer's bytes, given mutations of good and bad examples for some seconds. The core's
  parsers have fuzz targets of their own, see rust/core/fuzz.

  HTTPKIT_FUZZ_SEED is a seed that a run has printed, HTTPKIT_FUZZ_SECONDS how long each test goes on (default 2)."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is]]
            [httpkit.wire       :as wire]
            [org.httpkit.ranges :as ranges]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayInputStream Closeable File IOException)
           (java.net URI)
           (java.util SplittableRandom)
           (java.util.zip GZIPInputStream)
           (org.httpkit DynamicBytes HttpUtils)
           (org.httpkit.client EventParser Location)))

(set! *warn-on-reflection* true)

(defn- from-environment [variable default]
  (if-let [text (System/getenv variable)] (Long/parseLong text) default))

(defn- number ^long [^SplittableRandom random bound] (.nextInt random (int bound)))
(defn- choice [random things] (nth things (number random (count things))))

(defn- changed
  "The text with one change."
  [random examples tokens ^String text]
  (let [at  (number random (inc (count text)))
        end (min (count text) (+ at (number random 20)))]
    (case (number random 6)
      0 (str (subs text 0 at) (subs text end))
      1 (str (subs text 0 end) (subs text at))
      2 (str (subs text 0 at) (char (number random 256)) (subs text (min (count text) (inc at))))
      3 (let [^String other (choice random examples)]
          (str (subs text 0 at) (subs other (number random (inc (count other))))))
      (str (subs text 0 at) (choice random tokens) (subs text at)))))

(defn- fuzz
  "Calls `(check random text)` with mutations of the examples; stops at the first that fails, and says what it was."
  [examples tokens check]
  (let [seed   (from-environment "HTTPKIT_FUZZ_SEED" (System/nanoTime))
        random (SplittableRandom. (long seed))
        until  (+ (System/nanoTime) (* 1000000000 (long (from-environment "HTTPKIT_FUZZ_SECONDS" 2))))]
    (run! #(check random %) examples)
    (loop [n 0]
      (let [text  (nth (iterate #(changed random examples tokens %) (choice random examples)) (inc (number random 5)))
            fault (try (when-not (check random text) "is read wrong")
                       (catch Throwable t (str t)))]
        (cond
          fault                       (is (nil? fault) (str "seed " seed ", input " (pr-str text)))
          (< (System/nanoTime) until) (recur (inc n))
          :else                       (is (pos? n)))))))

;;;; Server-sent events

(defn- events
  "All that a parser says, and how it ended."
  [^bytes bytes size]
  (let [parser (EventParser. (wire/in-pieces bytes size) 500 "before")]
    (loop [found []]
      (let [more? (try (.next parser) (catch IOException e (ex-message e)))]
        (if (true? more?)
          (recur (conj found [(.event parser) (.data parser) (.lastId parser) (.retry parser)]))
          (conj found [more? (.lastId parser) (.retry parser)]))))))

(deftest events-are-the-same-however-their-bytes-are-cut
  (fuzz ["data: hello\n\n" "event: tick\ndata: a\ndata: b\nid: 7\nretry: 300\n\n" ": comment\r\n\r\ndata\r\r"
         "\u00ef\u00bb\u00bfdata:x\n\n" "id: a\u0000b\ndata: x\n\nid\ndata: y\n\n" "retry: 99999999999\ndata: \u00e2\u0082\u00ac\n\n"
         (str "data: " (apply str (repeat 490 "x")) "\n\n")]
        ["\r" "\n" "\r\n" ":" ": " "data" "id" "retry: 5" "event" "\u00ff" "\u0000" "\u00ef\u00bb\u00bf"]
        (fn [random text]
          (let [bytes (wire/latin1 text)
                whole (events bytes 10000)]
            (and (= whole (events bytes (inc (number random 7))))
                 (not-any? #(str/includes? (str (second %)) "\r") (butlast whole)))))))

;;;; Values of headers

(deftest ranges-lie-within-their-file
  (fuzz ["bytes=0-99" "bytes=-5" "bytes=7-" "bytes=0-0,5-6" "Bytes= 1-2 " "lines=1-2" "bytes=00000000000000000000007-9"]
        ["-" "," "=" "bytes=" " " "\t" "0" "99999999999999999999999999" "\u0663"]
        (fn [random text]
          (let [size (number random 20)
                part (ranges/part-of text size)]
            (or (nil? part)
                (= :unsatisfiable part)
                (let [[offset length] part]
                  (and (<= 0 (long offset)) (pos? (long length)) (<= (+ (long offset) (long length)) size))))))))

(deftest locations-are-urls-or-are-refused
  (fuzz ["/a/b" "//other.test/x" "https://a.test:444/b?c#d" "../x/./y" "?q" "#f" "" "mailto:x@y" "http://[::1]/" "/%zz" "/\u00e9"
         "http://user:pass@h/"]
        ["/" "." ".." "//" ":" "@" "[" "]" "%" "%2f" "?" "#" "\\" " " "\u00ff"]
        (fn [_ text]
          (try
            (let [url (Location/resolve "http://h.test:8080/a/b/c?d" text)]
              (and (some? (.getScheme (URI. url)))
                   (every? #(< 32 (int %) 127) url)))
            (catch IllegalArgumentException e (instance? java.net.URISyntaxException (or (.getCause e) e)))))))

(deftest charsets-are-known-or-nil
  (fuzz ["text/html; charset=utf-8" "text/plain;charset=\"ISO-8859-1\"" "charset" "a/b; x=y; CHARSET='utf-16'" "a/b; charset=\\\"x"]
        [";" "=" "\"" "\\" "charset=" "utf-8" " " "," "\u0000"]
        (fn [_ ^String text]
          (let [document (DynamicBytes. 16)]
            (.append document ^String text)
            (HttpUtils/parseCharset text)
            (some? (HttpUtils/detectCharset {"content-type" text} document))))))

;;;; Through a server

(def ^:private body (apply str (map #(char (+ 97 (rem (long %) 26))) (range 2000))))

(defn- text-of [{:keys [^bytes body headers]}]
  (if (= "gzip" (headers "content-encoding"))
    (slurp (GZIPInputStream. (ByteArrayInputStream. body)) :encoding "ISO-8859-1")
    (String. body "ISO-8859-1")))

(defn- raw [answer]
  (update answer :body #(if (string? %) (wire/latin1 %) %)))

(defn- right?
  "Whether a response is the whole body, the part that it says, or none with a reason."
  [{:keys [status headers] :as answer}]
  (case (int status)
    200 (= body (text-of answer))
    206 (let [[from to] (map parse-long (re-seq #"\d+" (headers "content-range")))]
          (= (subs body from (inc (long to))) (text-of answer)))
    416 (= "bytes */2000" (headers "content-range"))
    (contains? #{400 426 431 501} status)))

(def ^:private fields
  ["Range" "If-Range" "Accept-Encoding" "Cookie" "Content-Type" "X-Forwarded-For" "Upgrade" "Sec-WebSocket-Key"
   "Sec-WebSocket-Version" "Connection" "Host" "Expect" "TE" "Accept"])

(deftest no-value-of-a-header-makes-a-response-wrong
  (let [file (doto (File/createTempFile "fuzz" ".txt") (.deleteOnExit))]
    (spit file body)
    (wire/with-server [{:keys [port errors]}
                       (server/wrap-range
                         (fn [{:keys [headers]}]
                           (dorun headers)
                           {:status 200 :headers {"Content-Type" "text/plain" "ETag" "\"tag\""}
                            :body   (if (headers "range") file body)}))
                       {:compression true}]
      (fuzz ["bytes=0-99" "\"tag\"" "gzip;q=0.5, *;q=0" "identity" "a=b; c=\"d\"" "text/plain; charset=utf-8" "1.2.3.4, ::1"
             "websocket" "dGhlIHNhbXBsZSBub25jZQ==" "keep-alive, Upgrade" "100-continue" "13" "h:80" "Wed, 21 Oct 2015 07:28:00 GMT"]
            [";" "," "=" "\"" "q=0." "gzip" "*" "close" "upgrade" "bytes=" "-" "\t" "\u00ff" "[" "%00"]
            (fn [random text]
              (let [value (str/replace text #"[\r\n\u0000]" " ")
                    other (choice random fields)]
                (with-open [^Closeable conn (wire/connect port)]
                  (wire/send! conn (wire/get-request "/" [(choice random fields) value] [other "bytes=5-9"]))
                  (let [answer (wire/answer conn :raw? true)]
                    (and (not= :closed answer) (right? (raw answer))))))))
      (is (= [] @errors)))))
