(ns httpkit.ws-conformance-test
  "The server against the WebSocket conformance cases of tests/wire/websocket,
  which follow Autobahn's categories 1-7, 9 and 10.

  A file is {:rule :server :cases :utf8}: options for `run-server`, cases, and
  texts as `6-utf8.edn` explains. A case is
    {:id :about
     :send   frames             ; see httpkit.ws-wire
     :chop   n | :frame         ; bytes or frames per write, default all in one
     :expect reactions          ; the frames that come back
     :or     [reactions ...]    ; what is right too
     :times  n                  ; all that n times, each after the other
     :steps  [{:send :expect}]} ; instead of :send and :expect

  Every case ends with a closed connection. If its reactions do not end in a
  close, the player closes with 1000 and wants the same back, so anything sent
  without need is seen."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.test :refer [deftest is testing]]
            [httpkit.scheme :as scheme]
            [httpkit.ws-wire :as wire]
            [org.httpkit.server :as server]))

(set! *warn-on-reflection* true)

(def ^:private timeout-ms 20000)

(defn- echo [req]
  (server/as-channel req {:on-receive (fn [ch message] (server/send! ch message))}))

(defn- with-echo
  "Calls `f` with the port of an echo server, then stops it."
  [opts f]
  (let [server (server/run-server echo (merge {:ip "127.0.0.1" :port 0 :legacy-return-value? false
                                               ;; Two hundred refused cases would each print a line.
                                               :warn-logger (fn [_ _])}
                                              (scheme/options opts)))]
    (try (f (server/server-port server))
         (finally @(server/server-stop! server {:timeout 1000})))))

(defn- close? [reaction]
  (and (vector? reaction) (= :close (first reaction))))

(defn- ends? [reactions]
  (close? (last reactions)))

(defn- closing
  "The last thing played: nothing, or a closing of our own."
  [steps]
  (if (ends? (:expect (last steps)))
    steps
    (concat steps [{:send [[:close 1000]] :expect [[:close 1000]]}])))

(defn- steps [{:keys [send expect steps times] :or {times 1}}]
  (closing (or steps (repeat times {:send send :expect expect}))))

(defn- receive
  "`n` reactions, or all of them; in either case none after the end."
  [conn n]
  (loop [heard []]
    (let [reaction (when-not (= n (count heard)) (wire/receive! conn))]
      (cond (nil? reaction)     heard
            (keyword? reaction) (conj heard reaction)
            :else               (recur (conj heard reaction))))))

(defn play
  "The reactions of the server on `port` to a case, in order, `:closed` last."
  [port {:keys [chop] :as case}]
  (let [conn (wire/connect port timeout-ms)]
    (try
      (reduce (fn [heard {:keys [send expect]}]
                (wire/send! conn send chop)
                (let [heard (into heard (receive conn (when-not (ends? expect) (count expect))))]
                  (if (keyword? (peek heard)) (reduced heard) heard)))
              []
              (steps case))
      (finally (wire/disconnect conn)))))

(defn- by-kind
  "A pong may overtake an echo and the other way round (RFC 6455 5.5.2); what
  is of one kind keeps its order, and nothing follows a close."
  [reactions]
  (assoc (group-by #(if (= :pong (first %)) :pongs :messages) (drop-last 2 reactions))
         :end (take-last 2 reactions)))

(defn- wanted
  "What `play` may return for a case, the first being the best."
  [case]
  (let [best (mapcat :expect (steps case))]
    (for [reactions (cons best (:or case))]
      (conj (mapv wire/expected reactions) :closed))))

(defn- check [port {:keys [id about] :as case}]
  (testing (str id " " about)
    (let [heard  (play port case)
          wanted (wanted case)
          right? (contains? (set (map by-kind wanted)) (by-kind heard))]
      (is right? (str "heard " (pr-str (take-last 5 heard))
                      ", wanted " (pr-str (take-last 5 (first wanted))))))))

(defn- utf8-cases
  "One text in the ways it can come."
  [[id hex valid?]]
  (let [expect (if valid? [[:text {:hex hex}]] [[:close 1007]])]
    [{:id id :about "whole" :send [[:text {:hex hex}]] :expect expect}
     {:id id :about "byte by byte" :chop 1 :send [[:text {:hex hex}]] :expect expect}
     {:id id :about "fragments" :send [[:text {:hex hex} {:fragments 1}]] :expect expect}]))

(defn cases
  "Options and cases of a file in tests/wire/websocket."
  [file]
  (let [{:keys [server cases utf8]} (edn/read-string (slurp (io/file "tests/wire/websocket" file)))]
    {:server server :cases (concat cases (mapcat utf8-cases utf8))}))

(defn- check-file [file]
  (let [{:keys [server cases]} (cases file)]
    (with-echo server #(run! (partial check %) cases))))

(deftest messages-of-every-length-form-are-echoed (check-file "1-framing.edn"))
(deftest pings-are-answered-and-pongs-ignored (check-file "2-pings.edn"))
(deftest reserved-bits-are-refused (check-file "3-reserved-bits.edn"))
(deftest reserved-opcodes-are-refused (check-file "4-opcodes.edn"))
(deftest fragments-are-joined-and-bad-ones-refused (check-file "5-fragmentation.edn"))
(deftest text-is-utf8-or-refused-at-once (check-file "6-utf8.edn"))
(deftest closings-are-answered-and-bad-ones-refused (check-file "7-close.edn"))
(deftest big-messages-and-many-arrive (check-file "9-limits.edn"))
(deftest the-limit-is-kept (check-file "10-misc.edn"))
