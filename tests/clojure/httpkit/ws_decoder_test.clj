(ns httpkit.ws-decoder-test
  "`WSDecoder`, the decoder for Java programs with connections of their own: frames, faults, and the same
  judgement as a server's on random input."
  (:require [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [httpkit.ws-wire    :as ws]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayOutputStream)
           (java.nio ByteBuffer)
           (java.util Random)
           (org.httpkit.server Frame Frame$BinaryFrame Frame$CloseFrame Frame$PingFrame Frame$PongFrame Frame$TextFrame
                               WSDecoder WebSocketException)))

(set! *warn-on-reflection* true)

(defn- bytes-of ^bytes [frames]
  (let [out (ByteArrayOutputStream.)]
    (doseq [frame frames, ^bytes part (ws/frame-bytes frame)] (.write out part))
    (.toByteArray out)))

(defn- said [^Frame frame]
  (let [data (fn [] (vec (.data frame)))]
    (condp instance? frame
      Frame$TextFrame   [:text (.getText ^Frame$TextFrame frame)]
      Frame$BinaryFrame [:binary (data)]
      Frame$PingFrame   [:ping (data)]
      Frame$PongFrame   [:pong (data)]
      Frame$CloseFrame  [:close (.getStatus ^Frame$CloseFrame frame)])))

(defn- decode
  "What a decoder says of pieces of input, up to a close or [:fault code]."
  [max-size pieces]
  (let [decoder (WSDecoder. (int max-size))]
    (loop [events [] [^bytes piece & more :as pieces] pieces buffer nil]
      (let [^ByteBuffer buffer (or buffer (some-> piece ByteBuffer/wrap))
            frame  (when buffer
                     (try (.decode decoder buffer)
                          (catch WebSocketException e [:fault (.getCloseStatus e)])))]
        (cond
          (nil? buffer)   events
          (vector? frame) (conj events frame)
          (nil? frame)    (do (is (not (.hasRemaining buffer)))
                              (recur events more nil))
          (instance? Frame$CloseFrame frame) (conj events (said frame))
          :else           (recur (conj events (said frame)) pieces buffer))))))

(def ^:private conversation
  [[:text "hi"] [:binary {:hex "00ff"}] [:text ""] [:text "gr\u00fc\u00dfe" {:fragments 3}] [:ping "p"] [:pong ""]
   [:binary {:of "x" :times 130}] [:text "a" {:fin false}] [:ping "between"] [:cont "b" {:fin false}] [:cont "c"]
   [:close 4001 "bye"]])

(deftest a-conversation-is-the-same-at-every-cut
  (let [all      (bytes-of conversation)
        expected [[:text "hi"] [:binary [0 -1]] [:text ""] [:text "gr\u00fc\u00dfe"] [:ping (vec (.getBytes "p"))] [:pong []]
                  [:binary (vec (repeat 130 120))] [:ping (vec (.getBytes "between"))] [:text "abc"] [:close 4001]]]
    (is (= expected (decode 200 [all])))
    (is (= expected (decode 200 (map #(byte-array [%]) all))) "byte by byte")
    (doseq [cut (range (alength all))]
      (is (= expected (decode 200 [(java.util.Arrays/copyOf all (int cut))
                                   (java.util.Arrays/copyOfRange all (int cut) (alength all))]))))))

(deftest long-messages-have-their-length
  (is (= [[:binary (vec (repeat 70000 120))]] (decode 70000 [(bytes-of [[:binary {:of "x" :times 70000}]])]))))

(deftest faults-have-the-code-for-the-close-frame
  (doseq [[code & frames] [[1002 [:text "x" {:mask nil}]] [1002 [:text "x" {:rsv 4}]] [1002 [3 "x"]] [1002 [11 "x"]]
                           [1002 [:cont "x"]] [1002 [:text "a" {:fin false}] [:text "b"]] [1002 [:ping "x" {:fin false}]]
                           [1002 [:ping {:of "x" :times 126}]] [1002 [:text "x" {:length "7e0001"}]]
                           [1002 [:text "x" {:length "7f0000000000000001"}]] [1002 [:text "x" {:length "7fffffffffffffffff"}]]
                           [1002 [:close 1005]] [1002 [:close 999]] [1002 [:close 2000]] [1002 [8 "x"]]
                           [1007 [:text {:hex "ff"}]] [1007 [8 {:hex "03e8ff"}]]
                           [1009 [:text {:of "x" :times 11}]] [1009 [:text "12345678" {:fin false}] [:cont "901"]]
                           [1009 [:text "" {:length "7f7fffffffffffffff"}]]]]
    (is (= [[:fault code]] (decode 10 [(bytes-of frames)])) (pr-str frames))))

;; Against a server

(defn- pick [^Random random choices] (nth choices (.nextInt random (count choices))))

(defn- random-frame [^Random random]
  (let [n (pick random [0 1 2 5 20 126 200])]
    (case (int (.nextInt random 12))
      0       [:ping {:of "p" :times (min n 125)}]
      1       [:pong "q"]
      2       [:close (pick random [1000 1001 1005 1011 1016 2999 3000 4999 5000]) "r"]
      3       [(.nextInt random 16) {:of "o" :times n}]
      4       [:text {:hex (pick random ["c3a4" "c3" "f0908080" "eda080" "fe"])}]
      (5 6)   [:text {:of "t" :times n} {:fin false}]
      (7 8)   [:cont {:of "c" :times n} {:fin (.nextBoolean random)}]
      9       [:binary {:of "b" :times n} {:rsv (pick random [0 0 0 1])}]
      [:text {:of "t" :times n}])))

(defn- server-said
  "What a server says of the bytes on a new WebSocket: messages, pings, and the code of its on-close."
  [port results ^bytes input]
  (let [result (promise)]
    (reset! results result)
    (with-open [conn (wire/connect port)]
      (wire/send! conn ws/handshake)
      (is (= 101 (:status (wire/read-head conn))))
      (wire/send! conn input)
      (wire/half-close! conn)
      (deref result wire/patience-ms :nothing))))

(defn- comparable
  "Pongs reach no callback, and a peer that just leaves counts as 1001."
  [events]
  (let [[kind code :as end] (peek events)
        end? (#{:fault :close} kind)]
    [(vec (remove #(#{:pong :fault :close} (first %)) events)) (if end? code 1001)]))

(deftest random-input-means-the-same-to-a-server
  (let [results (atom nil)
        handler (fn [req]
                  (let [log (atom []) result @results]
                    (server/as-channel req
                      {:on-receive   (fn [_ m] (swap! log conj (if (string? m) [:text m] [:binary (vec m)])))
                       :on-ping      (fn [_ data] (swap! log conj [:ping (vec data)]))
                       :on-close-raw (fn [_ code _] (deliver result [@log code]))})))
        random  (Random. 20)]
    (wire/with-server [{:keys [port]} handler {:max-ws 150 :worker-pool (java.util.concurrent.Executors/newFixedThreadPool 1)}]
      (dotimes [i 300]
        (let [frames (vec (repeatedly (inc (.nextInt random 6)) #(random-frame random)))
              input  (bytes-of frames)
              size   (inc (.nextInt random 40))
              pieces (map byte-array (partition-all size input))]
          (testing (pr-str i frames)
            (is (= (server-said port results input)
                   (comparable (decode 150 pieces))))))))))
